"""Training by the command line resumes with the same bits, and a refused command changes nothing."""

from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from tests.references.command_runs import bits, command, contents, train


def test_a_stopped_run_resumes_with_the_same_bits(run: RunDirectory) -> None:
    for until in (1, 3, 6):
        command("train", "tiny.yaml", "--run", "stopped", "--until", until)
    assert bits(RunDirectory(Path("stopped"))) == bits(run)


def test_a_run_verifies_on_one_device_and_on_four(run: RunDirectory) -> None:
    assert command("verify", "run") == 0
    assert command("verify", "run", "mesh.data=4") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["training.steps=5"], "training.steps=5: the run is at step 6 already"),
        (["model.layers=2"], "model.layers 1 → 2"),
        (["training.steps=5000", "training.keep_last=9"], "training.steps=5000"),
        (["corpus.source=other.txt", "training.keep_last=9"], "has trained on other text than"),
        (["corpus.source=nowhere.txt", "training.keep_last=9", "training.steps=4"], "at step 6 already"),
        (["training.keep_last=9", "mesh.data=4", "--pods"], "mesh.pod=1"),
    ],
)
def test_a_refused_training_changes_nothing(run: RunDirectory, arguments: list[str], words: str) -> None:
    Path("other.txt").write_text("Other text.\n" * 1000)
    before = contents(run)
    with pytest.raises(UserError, match=words):
        train(*arguments)
    assert contents(run) == before


def test_a_refusal_for_lack_of_devices_changes_nothing(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes from JAX, after all checks that do without it."""
    before = contents(run)
    monkeypatch.setattr("jax.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"mesh\.data=2"):
        train("training.steps=7", "mesh.data=2", "training.batch_size=4", "training.micro_batch=1")
    assert contents(run) == before


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "environment.json", "ledger.jsonl"])
def test_an_invalid_file_is_refused_and_nothing_changes(run: RunDirectory, name: str) -> None:
    (run.path / name).write_text('[["another", "shape"]]\n')
    before = contents(run)
    with pytest.raises(UserError, match=name):
        train("training.keep_last=9")
    assert contents(run) == before


def test_a_change_outside_the_identity_is_recorded(run: RunDirectory) -> None:
    train("training.keep_last=9")
    assert run.recipe.training.keep_last == 9


def test_a_refused_new_run_leaves_no_folder(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt"):
        command("run", "tiny.yaml", "--source", "nowhere.txt", "--run", "new/run")
    with pytest.raises(UserError, match=r"training\.frozen=zz: matches none of"):
        command("train", "tiny.yaml", "--run", "new/run", "training.frozen=[zz]")
    assert not Path("new").exists()
