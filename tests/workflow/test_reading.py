"""Commands that read a run compare it with what its checkpoints were trained with."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import Manifest
from palmetto.tokens import store
from palmetto.tokens.store import TokenStore
from palmetto.training.checkpoint import Checkpoints
from tests.references.command_runs import PALMETTO, command, contents, flip_middle, train, truncate


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


def test_without_tokens_the_stamp_identifies_the_vocabulary(run: RunDirectory) -> None:
    shutil.rmtree(run.train_store.parent)
    assert command("generate", "run") == 0
    with run.vocabulary.open("ab") as file:
        file.write(b"\n\x04\n\x02zz")
    with pytest.raises(UserError, match=r"vocabulary\.model: altered since it was made"):
        command("generate", "run")


@pytest.mark.parametrize("name", ["train_store", "validation_store"])
@pytest.mark.parametrize("ruin", [truncate, flip_middle])
def test_the_advice_of_verify_repairs_tokens(run: RunDirectory, name: str, ruin: Callable[[Path], None]) -> None:
    path: Path = getattr(run, name)
    ruin(path)
    with pytest.raises(UserError, match=f"{path}.*move it away, and `palmetto train run/recipe.yaml --run run`"):
        command("verify", "run")
    path.rename("aside.bin")
    assert command("train", "run/recipe.yaml", "--run", "run") == 0
    assert command("verify", "run") == 0


def test_verify_detects_an_exchanged_store(run: RunDirectory) -> None:
    """The store is intact and of the same vocabulary."""
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


# Readers of a run while it is trained


def test_verify_ignores_checkpoints_pruned_meanwhile(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Checkpoints.manifest

    def prune_and_read(checkpoints: Checkpoints, step: int) -> Manifest:
        if step == 4:
            checkpoints.delete(4)
        return read(checkpoints, step)

    monkeypatch.setattr(Checkpoints, "manifest", prune_and_read)
    assert command("verify", "run") == 0


def test_verify_ignores_what_is_written_meanwhile(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training goes on between the reading of the checkpoints and that of the ledger."""
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


def test_an_incomplete_line_is_torn_unless_training_writes_it(
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
