"""What the loop decides; whole runs are in tests/system."""

import os
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.files import read_json, read_json_lines, write_json
from palmetto.runs.directory import RunDirectory
from palmetto.training import flops, loop
from palmetto.training.ledger import Ledger, Line, read
from palmetto.training.loop import Loop
from palmetto.training.spikes import Observation
from tests.conftest import RecipeMaker
from tests.references.simulated import SimulatedRun
from tests.training.test_spikes import calm


@pytest.fixture
def running() -> Loop:
    """A loop that has done nothing yet, and has nothing to do it with."""
    running = object.__new__(Loop)
    running.signal = None
    return running


def test_a_signal_that_comes_while_processes_agree_stops_behind_the_next_step(
    running: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have been told that there was none, and are on their way into that step."""

    def agree(flag: bool, state: object) -> bool:
        running.signal = "SIGTERM"
        return flag

    monkeypatch.setattr(loop, "any_of", agree)
    assert not running._told_to_stop(None)  # type: ignore[arg-type]
    assert running._told_to_stop(None)  # type: ignore[arg-type]


def test_a_signal_to_another_process_stops_this_one(running: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "any_of", lambda flag, state: True)
    assert running._told_to_stop(None)  # type: ignore[arg-type]
    assert running.signal == "a signal to another process"


def test_a_checkpoint_that_failed_stops_the_run_before_its_next_step(
    running: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as late as the next checkpoint: what is trained until then is lost."""
    failed_after = 3

    def check() -> None:
        if running.history.step == failed_after:
            raise UserError("no room")

    running.step, history = 1, SimpleNamespace(step=1)

    def advance(state: Any, until: int) -> Any:
        running.step = history.step = history.step + 1

    monkeypatch.setattr(running, "recipe", SimpleNamespace(training=SimpleNamespace(steps=1000)), raising=False)
    monkeypatch.setattr(running, "history", history, raising=False)
    monkeypatch.setattr(running, "ledger", SimpleNamespace(settle=lambda: None), raising=False)
    monkeypatch.setattr(running, "checkpoints", SimpleNamespace(check=check), raising=False)
    monkeypatch.setattr(running, "begin", lambda: None)
    monkeypatch.setattr(running, "resume", lambda: None)
    monkeypatch.setattr(running, "_advance", advance)
    with pytest.raises(UserError, match="no room"):
        running.train(1000)
    assert running.history.step == failed_after


class Chip(SimpleNamespace):
    device_kind, platform = "some chip", "gpu"


def test_the_peak_is_of_the_devices_that_a_resumed_run_has(
    running: Loop, tmp_path: Path, tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of each as the run has first measured it."""
    monkeypatch.setattr("jax.devices", lambda: [Chip()] * 8)
    running.run = RunDirectory(tmp_path)
    write_json(running.run.environment, {"jax": "1", "peak_flops": 7.0})  # as once, of the whole mesh
    for measured, devices in ((1e12, 2), (5e12, 8)):
        monkeypatch.setattr(flops, "measured_peak", lambda measured=measured: measured)
        running.recipe = tiny_recipe(f"mesh.data={devices}", "tokens.vocabulary_size=512", "training.micro_batch=1")
        assert running._peak() == devices * 1e12
    assert read_json(running.run.environment) == {"jax": "1", "peak_flops": 7.0, "device_peak_flops": 1e12}
    running.recipe = tiny_recipe("mesh.data=2", "training.peak_flops=1.5e12")
    assert running._peak() == 1.5e12, "the recipe's is that of the whole mesh"
    running.recipe = tiny_recipe("mesh.data=2")
    assert running._peak() == 2e12, "and is not kept"


class Quiet:
    """A progress that keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def step(self, *figures: Any) -> None: ...

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_a_signal_before_the_first_step_does_not_promise_one(running: Loop) -> None:
    running.progress = quiet = Quiet()
    running._on_signal(2, None)
    assert quiet.messages == ["SIGINT: stopping before the next step"]


def test_the_ledger_is_durable_before_each_checkpoint(
    tiny_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut between the two would leave a checkpoint whose line is lost, which nothing can go on from."""
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


def test_a_line_waits_for_its_digest_and_those_behind_it_wait_too(tmp_path: Path) -> None:
    book, digest = Ledger(tmp_path / "ledger.jsonl"), Future[str]()
    line = Line(1, 0, 1.0, 1.0, 1.0, 0.0, 1e-3, 8, "ab", True)
    book.append(line, digest)
    book.append(line._replace(step=2))
    assert (tmp_path / "ledger.jsonl").read_bytes() == b""
    digest.set_result("tree:cd")
    book.append(line._replace(step=3))
    assert [each.step for each in read(tmp_path / "ledger.jsonl")[0]] == [1, 2, 3]
    assert book.lines[0].parameters == "tree:cd"


def test_a_slow_divergence_is_told_once_and_nothing_is_rolled_back(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
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
