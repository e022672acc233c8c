"""Decisions of the training loop; whole runs are tested in tests/system."""

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.json_lines import read_json_lines
from palmetto.training.ledger import Ledger, Line, read
from palmetto.training.spikes import Observation
from tests.conftest import RecipeMaker
from tests.references.simulated import SimulatedRun
from tests.references.spike_runs import calm


def test_a_failed_checkpoint_stops_the_run_before_another_step(
    tiny_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps taken until the next checkpoint would be lost."""
    run = SimulatedRun(tmp_path / "run", tiny_recipe("training.steps=1000"), calm_curve)

    def check() -> None:
        if len(run.loop.ledger.lines) == 3:
            raise UserError("no room")

    monkeypatch.setattr(run.disk, "check", check)
    with pytest.raises(UserError, match="no room"):
        run.train(1000)
    assert run.loop.at.step == 3


def test_the_ledger_is_durable_before_each_checkpoint(
    tiny_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure could otherwise leave a checkpoint without its line, from which no run can resume."""
    run = SimulatedRun(tmp_path / "run", tiny_recipe("training.steps=100", "training.checkpoint_every=5"), calm_curve)
    durable, fsync, save = dict[int, int](), os.fsync, run.disk.save

    def note(descriptor: int) -> None:
        fsync(descriptor)
        durable[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    def check(*arguments: Any, **fields: Any) -> None:
        there = run.directory.ledger.stat()
        assert there.st_size > 0
        assert durable.get(there.st_ino) == there.st_size, f"checkpoint {fields['step']} before its line was durable"
        save(*arguments, **fields)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(run.disk, "save", check)
    run.train(20)
    assert [step for _, step in run.disk.ever] == [5, 10, 15, 20]


def test_lines_wait_for_the_digests_of_earlier_ones(tmp_path: Path) -> None:
    book, digest = Ledger.open(tmp_path / "ledger.jsonl"), Future[str]()
    line = Line(1, 0, 1.0, 1.0, 1.0, 0.0, 1e-3, 8, "ab", True)
    book.append(line, digest)
    book.append(line._replace(step=2))
    assert not read(tmp_path / "ledger.jsonl")[0]
    digest.set_result("tree:cd")
    book.append(line._replace(step=3))
    assert [each.step for each in read(tmp_path / "ledger.jsonl")[0]] == [1, 2, 3]
    assert book.lines[0].parameters == "tree:cd"


def test_slow_divergence_is_reported_once_without_a_rollback(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    def rising(attempt: int, step: int, position: int) -> Observation:
        calm = calm_curve(attempt, step, position)
        return calm._replace(loss=calm.loss + max(0, step - 1000) * 0.003)

    run = SimulatedRun(tmp_path / "run", tiny_recipe("training.steps=3000"), rising)
    run.train(2000)
    told = [event for event in read_json_lines(run.directory.events) if event["event"] in ("rising loss", "rollback")]
    assert [event["event"] for event in told] == ["rising loss"]
    assert told[0]["since"] <= 1024 < told[0]["step"] <= 1536
    assert "little by little" in told[0]["text"]


def calm_curve(attempt: int, step: int, position: int) -> Observation:
    return calm(step, position)


def test_a_refused_run_leaves_no_ledger(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    run = SimulatedRun(tmp_path / "run", tiny_recipe("training.steps=20"), calm_curve)
    run.directory.record_event("resume", text="", checkpoint=10, attempt=0)
    with pytest.raises(UserError, match="lacks the line of checkpoint 10"):
        run.train(20)
    assert not run.directory.ledger.exists()
