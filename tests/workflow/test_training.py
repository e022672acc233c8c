"""Commands on a run that is damaged, finished, or asked for what it cannot do: in this process, by the command line."""

import inspect
import json
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from palmetto.cli.app import app
from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import Manifest
from palmetto.tokens import store
from palmetto.tokens.store import TokenStore
from palmetto.training.checkpoint import Checkpoints

PALMETTO = str(Path(sys.executable).with_name("palmetto"))

RECIPE = """
corpus: {source: text.txt, section_bytes: 2048, validation_share: 0.1}
tokens: {vocabulary_size: 400, sequence_length: 16}
model: {layers: 1, d_model: 16, heads: 2}
training:
  steps: 6
  batch_size: 4
  checkpoint_every: 2
  evaluate_every: 6
  digest_every: 2
  validation_windows: 8
  peak_flops: 1e11
  schedule: {peak: 1e-2, hold: 100}
"""

Copy = Callable[[], RunDirectory]


def command(*arguments: object) -> int:
    """The command line in this process; returns the exit code of an answer, UserErrors are raised."""
    return app([str(argument) for argument in arguments], standalone_mode=False) or 0


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every command compiles the same few programs: they are kept on disk meanwhile."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is settings:
            yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a recipe and a finished run of it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "text.txt").write_text(inspect.getsource(ArgumentParser))
    (folder / "tiny.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command("run", "tiny.yaml", "--run", "run")
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A copy of the finished run, in a folder like the one that it was made in, which is the working directory."""
    for name in ("text.txt", "tiny.yaml"):
        shutil.copy(whole / name, tmp_path)
    shutil.copytree(whole / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(Path("run"))
    run.recipe_file.write_text(run.recipe_file.read_text().replace(str(whole), str(tmp_path)))
    return run


def train(*overrides: object) -> int:
    return command("train", "tiny.yaml", "--run", "run", *overrides)


def contents(run: RunDirectory) -> dict[str, bytes]:
    """Every file of a run but the lock's, by path."""
    files = (path for path in sorted(run.path.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def bits(run: RunDirectory) -> dict[str, bytes | object]:
    """What a mended run has again: the vocabulary, the tokens, the ledger, and the digests of the state."""
    files = [run.vocabulary, run.train_store, run.validation_store, run.ledger]
    return {path.name: path.read_bytes() for path in files} | json.loads(run.summary.read_text())["digest"]


def told(run: RunDirectory) -> list[str]:
    return [json.loads(line)["event"] for line in run.events.read_text().splitlines()]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def flip_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


# A refused command changes nothing


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


def test_a_refusal_by_the_devices_changes_nothing(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from JAX, after all that is known without it."""
    before = contents(run)
    monkeypatch.setattr("jax.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"mesh\.data=2"):
        train("training.steps=7", "mesh.data=2", "training.batch_size=4", "training.micro_batch=1")
    assert contents(run) == before


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl", "environment.json", "ledger.jsonl"])
def test_a_file_of_another_shape_is_refused_and_nothing_changed(run: RunDirectory, name: str) -> None:
    (run.path / name).write_text('[["another", "shape"]]\n')
    before = contents(run)
    with pytest.raises(UserError, match=name):
        train("training.keep_last=9")
    assert contents(run) == before


def test_what_lies_outside_the_identity_is_recorded_once_allowed(run: RunDirectory) -> None:
    train("training.keep_last=9")
    assert run.recipe.training.keep_last == 9


def test_a_refused_new_run_leaves_no_folder(run: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"nowhere\.txt"):
        command("run", "tiny.yaml", "--source", "nowhere.txt", "--run", "new/run")
    assert not Path("new").exists()


# Damage is mended, and the bits are those of before


@pytest.mark.parametrize(
    ("name", "ruin"),
    [
        ("train_store", truncate),
        ("train_store", flip_middle),
        ("validation_store", flip_middle),
        ("vocabulary", flip_middle),
        ("vocabulary", Path.unlink),
    ],
)
def test_damaged_tokens_are_made_again_and_compared(
    run: RunDirectory, name: str, ruin: Callable[[Path], None], whole: Path
) -> None:
    ruin(getattr(run, name))
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))
    assert told(run)[-1] == "tokens mended"


@pytest.mark.parametrize("name", ["tokens", "tokens/train.bin", "vocabulary.model", "stages", "stages/tokens.json"])
def test_what_lies_on_a_disk_that_is_not_mounted_is_not_made_again(run: RunDirectory, name: str) -> None:
    part, away = run.path / name, Path("away")
    part.rename(away)
    part.symlink_to(Path("disk").absolute())
    before = contents(run)
    with pytest.raises(UserError, match="disk, where nothing is: mount the disk"):
        train()
    assert contents(run) == before
    away.rename("disk")
    assert train() == 0
    assert part.is_symlink()
    assert "tokens mended" not in told(run)


@pytest.mark.parametrize(("stage", "stamp"), [("tokens", '{"inputs": 3}'), ("tokens", None), ("vocabulary", "")])
def test_a_lost_stamp_is_written_again(run: RunDirectory, stage: str, stamp: str | None, whole: Path) -> None:
    file = run.stamps / f"{stage}.json"
    file.unlink() if stamp is None else file.write_text(stamp)
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))
    assert file.read_bytes() == (whole / "run" / "stages" / f"{stage}.json").read_bytes()


def test_all_of_the_text_s_files_are_made_again_at_once(run: RunDirectory, whole: Path) -> None:
    shutil.rmtree(run.train_store.parent)
    shutil.rmtree(run.stamps)
    run.vocabulary.unlink()
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


def test_tokens_that_do_not_come_out_as_before_are_refused(run: RunDirectory) -> None:
    """With no stamp to tell that the text is another, the checkpoints tell."""
    shutil.rmtree(run.stamps)
    with Path("text.txt").open("a") as text:
        text.write("One more line.\n" * 20)
    before = contents(run)
    with pytest.raises(UserError, match="does not give those again"):
        train()
    assert contents(run) == before


def test_damaged_tokens_whose_text_is_gone_are_named(run: RunDirectory) -> None:
    truncate(run.train_store)
    Path("text.txt").rename("elsewhere.txt")
    before = contents(run)
    with pytest.raises(UserError, match=r"text\.txt, which they were made from, is gone"):
        train()
    assert contents(run) == before
    Path("elsewhere.txt").rename("text.txt")
    train()
    assert told(run)[-1] == "tokens mended"


def test_tokens_found_damaged_by_a_step_are_made_again(run: RunDirectory, whole: Path) -> None:
    """Their header is as it was, so that the damage shows when the block is read."""
    flip_middle(run.train_store)
    with pytest.raises(UserError, match="the same command goes on"):
        train("training.steps=8")
    assert train("training.steps=8") == 0
    assert run.train_store.read_bytes() == (whole / "run" / "tokens" / "train.bin").read_bytes()


def test_mending_what_a_step_found_outlasts_a_kill(
    run: RunDirectory, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of several processes is ended soon after another has found the damage too."""
    flip_middle(run.train_store)
    with monkeypatch.context() as patch:
        patch.setattr("palmetto.tokens.packing.pack", killed)
        with pytest.raises(RuntimeError, match="killed"):
            train("training.steps=8")
    assert train("training.steps=8") == 0
    assert run.train_store.read_bytes() == (whole / "run" / "tokens" / "train.bin").read_bytes()
    assert [event for event in told(run) if event.startswith("tokens")] == ["tokens damaged", "tokens mended"]


def killed(*arguments: object, **options: object) -> None:
    raise RuntimeError("killed")


def test_tokens_that_were_misread_once_are_suspected_until_read_again(run: RunDirectory) -> None:
    run.record_event("tokens damaged", text="a block was misread")
    for _ in range(2):
        assert train("training.steps=8") == 0
    assert [event for event in told(run) if event.startswith("tokens")] == ["tokens damaged", "tokens mended"]


def test_a_finished_run_mends_its_newest_checkpoint(run: RunDirectory, whole: Path) -> None:
    newest = run.checkpoints / "00000006"
    arrays = [path for path in (newest / "arrays").rglob("*") if path.is_file()]
    flip_middle(max(arrays, key=lambda path: path.stat().st_size))
    train()
    assert "damaged checkpoint" in told(run)
    assert bits(run) == bits(RunDirectory(whole / "run"))
    assert command("verify", "run") == 0


def test_a_finished_run_with_an_altered_manifest_is_mended(run: RunDirectory, whole: Path) -> None:
    flip(run.checkpoints / "00000006" / "manifest.json", 40)
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


@pytest.mark.parametrize("text", ["", "[1]", '{"steps": 6}'])
def test_a_damaged_summary_is_written_anew(run: RunDirectory, text: str, whole: Path) -> None:
    run.summary.write_text(text)
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


@pytest.mark.parametrize("ruin", [Path.unlink, flip_middle])
def test_a_finished_run_s_ledger_is_looked_at(run: RunDirectory, ruin: Callable[[Path], None]) -> None:
    ruin(run.ledger)
    before = contents(run)
    with pytest.raises(UserError, match=r"ledger\.jsonl"):
        train()
    assert contents(run) == before


def test_a_whole_finished_run_is_left_alone(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    train()
    assert "trained to step 6 already" in capsys.readouterr().err
    assert contents(run) == before


def test_an_edited_recipe_is_put_right_by_the_one_trained_with(run: RunDirectory, whole: Path) -> None:
    was = run.recipe_file.read_text()
    run.recipe_file.write_text(was.replace("layers: 1", "layers: 2"))
    train()
    assert run.recipe_file.read_text() == was


# A missing record of the environment


def test_a_missing_environment_is_told_and_recorded(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.environment.unlink()
    train()
    assert "environment.json: missing" in capsys.readouterr().err
    assert run.environment.exists()
    assert "environment" in told(run)


def test_verify_writes_nothing(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.environment.unlink()
    before = contents(run)
    assert command("verify", "run") == 0
    assert "environment.json: missing" in capsys.readouterr().err
    assert contents(run) == before
    run.environment.write_text('{"jaxlib": "0.1", "platform": "cpu"}')
    before = contents(run)
    assert command("verify", "run") == 0
    assert "jaxlib 0.1 → " in capsys.readouterr().err
    assert contents(run) == before


# What reads a run compares it with what its checkpoints were trained with


READERS = ("generate", "digest", "report", "long-context", "verify")


@pytest.mark.parametrize("reader", READERS)
def test_an_edited_recipe_is_not_used(run: RunDirectory, reader: str) -> None:
    run.recipe_file.write_text(run.recipe_file.read_text().replace("vocabulary_size: 400", "vocabulary_size: 301"))
    before = contents(run)
    with pytest.raises(UserError, match=r"run/recipe\.yaml: altered since checkpoint 6 was trained"):
        command(reader, "run")
    assert contents(run) == before


@pytest.mark.parametrize("reader", ["generate", "long-context", "verify"])
def test_a_vocabulary_of_another_text_is_not_used(run: RunDirectory, reader: str) -> None:
    from palmetto.tokens.vocabulary import Vocabulary

    Vocabulary.train([Path("text.txt").read_text()[::-1]], 400, "bpe").save(run.vocabulary)
    with pytest.raises(UserError, match=r"run/vocabulary\.model: .*makes it again from the same text"):
        command(reader, "run")
    train()
    assert command(reader, "run") == 0, "the advice is true"


def test_the_stamp_knows_the_vocabulary_where_there_are_no_tokens(run: RunDirectory) -> None:
    shutil.rmtree(run.train_store.parent)
    assert command("generate", "run") == 0
    with run.vocabulary.open("ab") as file:
        file.write(b"\n\x04\n\x02zz")
    with pytest.raises(UserError, match=r"vocabulary\.model: altered since it was made"):
        command("generate", "run")


@pytest.mark.parametrize("name", ["train_store", "validation_store"])
@pytest.mark.parametrize("ruin", [truncate, flip_middle])
def test_the_advice_of_verify_mends_tokens(run: RunDirectory, name: str, ruin: Callable[[Path], None]) -> None:
    path: Path = getattr(run, name)
    ruin(path)
    with pytest.raises(UserError, match=f"{path}.*move it away, and `palmetto train run/recipe.yaml --run run`"):
        command("verify", "run")
    path.rename("aside.bin")
    assert command("train", "run/recipe.yaml", "--run", "run") == 0
    assert command("verify", "run") == 0


def test_verify_knows_a_store_that_was_exchanged(run: RunDirectory) -> None:
    """It is whole in itself, and of the same vocabulary."""
    opened = TokenStore.open(run.validation_store)
    header, tokens = opened.header, np.array(opened.stretch(0, opened.header.tokens))
    store.write(
        run.validation_store,
        [tokens[::-1]],
        vocabulary_size=400,
        sequence_length=header.sequence_length,
        documents=header.documents,
        vocabulary_digest=header.vocabulary_digest,
        source_fingerprint=header.source_fingerprint,
    )
    with pytest.raises(UserError, match=r"validation\.bin: another store than was made"):
        command("verify", "run")


def test_verify_names_the_step_of_a_garbage_line(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run.ledger.read_bytes().splitlines(keepends=True)
    run.ledger.write_bytes(b"".join([*lines[:2], b"\xff garbage\n", *lines[3:]]))
    assert command("verify", "run") == 1
    assert capsys.readouterr().out.startswith("step 3: ledger line: ")


# Readers of a run in training


def test_verify_passes_over_what_is_pruned_meanwhile(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Checkpoints.manifest

    def prune_and_read(checkpoints: Checkpoints, step: int) -> Manifest:
        if step == 4:
            checkpoints.delete(4)
        return read(checkpoints, step)

    monkeypatch.setattr(Checkpoints, "manifest", prune_and_read)
    assert command("verify", "run") == 0


def test_verify_ignores_what_is_written_while_it_reads(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on between the look at the checkpoints and the look at the ledger."""
    run.ledger.rename("ledger-later.jsonl")
    lines = Path("ledger-later.jsonl").read_bytes().splitlines(keepends=True)
    run.ledger.write_bytes(b"".join(lines[:4]))
    shutil.move(run.checkpoints / "00000006", "later")
    read = Checkpoints.steps

    def steps_and_go_on(checkpoints: Checkpoints) -> list[int]:
        found = read(checkpoints)
        if Path("later").exists():
            shutil.move("later", run.checkpoints / "00000006")
            run.ledger.write_bytes(b"".join(lines))
        return found

    monkeypatch.setattr(Checkpoints, "steps", steps_and_go_on)
    assert command("verify", "run") == 0


def test_a_line_half_written_is_torn_unless_training_writes_it(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    with run.ledger.open("ab") as file:
        file.write(b'{"step": 7, "att')
    assert command("verify", "run") == 1
    assert "step 7: ledger line: run/ledger.jsonl: line 7, step 7: torn" in capsys.readouterr().out
    with run.locked():
        assert command("verify", "run") == 0
    train()
    assert command("verify", "run") == 0


@pytest.mark.slow
def test_readers_of_a_run_in_training_find_no_fault(run: RunDirectory) -> None:
    arguments = ["tiny.yaml", "--run", "live", "training.steps=100000", "training.epochs=1000", "training.keep_last=1"]
    process = subprocess.Popen([PALMETTO, "train", *arguments], stderr=subprocess.DEVNULL)
    live = RunDirectory(Path("live"))
    try:
        while live.ledger_lines < 10:
            assert process.poll() is None
            time.sleep(0.05)
        for name, *options in (["digest"], ["report"], ["generate", "--tokens", 4], ["verify", "--to", 3], ["digest"]):
            assert command(name, "live", *options) == 0
        assert process.poll() is None, "it is still in training"
    finally:
        process.kill()
        process.wait()
