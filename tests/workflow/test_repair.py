"""Training repairs damaged files of a run, and the bits are those of before."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from tests.conftest import slow_but
from tests.references.command_runs import bits, command, contents, flip, flip_middle, told, train, truncate


@pytest.mark.parametrize(
    ("name", "ruin"),
    slow_but(
        [("train_store", truncate), ("vocabulary", Path.unlink)],
        [
            ("train_store", truncate),
            ("train_store", flip_middle),
            ("validation_store", flip_middle),
            ("vocabulary", flip_middle),
            ("vocabulary", Path.unlink),
        ],
    ),
)
def test_damaged_tokens_are_rebuilt_and_compared(
    run: RunDirectory, name: str, ruin: Callable[[Path], None], whole: Path
) -> None:
    ruin(getattr(run, name))
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))
    assert told(run)[-1] == "tokens mended"


@pytest.mark.parametrize("name", ["tokens", "tokens/train.bin", "vocabulary.model", "stages", "stages/tokens.json"])
def test_files_on_an_unmounted_disk_are_not_rebuilt(run: RunDirectory, name: str) -> None:
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


def test_all_products_of_the_text_are_rebuilt_at_once(run: RunDirectory, whole: Path) -> None:
    shutil.rmtree(run.train_store.parent)
    shutil.rmtree(run.stamps)
    run.vocabulary.unlink()
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


def test_rebuilt_tokens_that_differ_are_refused(run: RunDirectory) -> None:
    """Without a stamp, the checkpoints show that the text has changed."""
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


def test_tokens_found_damaged_by_a_step_are_rebuilt(run: RunDirectory, whole: Path) -> None:
    """The header is intact, so the damage shows only when the block is read."""
    flip_middle(run.train_store)
    with pytest.raises(UserError, match="the same command goes on"):
        train("training.steps=8")
    assert train("training.steps=8") == 0
    assert run.train_store.read_bytes() == (whole / "run" / "tokens" / "train.bin").read_bytes()


@pytest.mark.slow
def test_repairing_what_a_step_found_survives_a_kill(
    run: RunDirectory, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several processes may be killed soon after another has found the damage."""
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


def test_misread_tokens_are_suspected_until_read_again(run: RunDirectory) -> None:
    run.record_event("tokens damaged", text="a block was misread")
    for _ in range(2):
        assert train("training.steps=8") == 0
    assert [event for event in told(run) if event.startswith("tokens")] == ["tokens damaged", "tokens mended"]


def test_a_finished_run_replaces_its_damaged_checkpoint(run: RunDirectory, whole: Path) -> None:
    newest = run.checkpoints / "00000006"
    arrays = [path for path in (newest / "arrays").rglob("*") if path.is_file()]
    flip_middle(max(arrays, key=lambda path: path.stat().st_size))
    train()
    assert "damaged checkpoint" in told(run)
    assert bits(run) == bits(RunDirectory(whole / "run"))
    assert command("verify", "run") == 0


def test_a_finished_run_with_an_altered_manifest_is_repaired(run: RunDirectory, whole: Path) -> None:
    flip(run.checkpoints / "00000006" / "manifest.json", 40)
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


@pytest.mark.parametrize("text", ["", "[1]", '{"steps": 6}'])
def test_a_damaged_summary_is_written_anew(run: RunDirectory, text: str, whole: Path) -> None:
    run.summary.write_text(text)
    train()
    assert bits(run) == bits(RunDirectory(whole / "run"))


@pytest.mark.parametrize("ruin", [Path.unlink, flip_middle])
def test_the_ledger_of_a_finished_run_is_checked(run: RunDirectory, ruin: Callable[[Path], None]) -> None:
    ruin(run.ledger)
    before = contents(run)
    with pytest.raises(UserError, match=r"ledger\.jsonl"):
        train()
    assert contents(run) == before


def test_an_intact_finished_run_is_left_unchanged(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(run)
    train()
    assert "trained to step 6 already" in capsys.readouterr().err
    assert contents(run) == before


def test_training_restores_an_edited_recipe(run: RunDirectory, whole: Path) -> None:
    was = run.recipe_file.read_text()
    run.recipe_file.write_text(was.replace("layers: 1", "layers: 2"))
    train()
    assert run.recipe_file.read_text() == was


def test_a_missing_environment_is_reported_and_recorded(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    run.environment.unlink()
    train()
    assert "environment.json: missing" in capsys.readouterr().err
    assert run.environment.exists()
    assert "environment" in told(run)
