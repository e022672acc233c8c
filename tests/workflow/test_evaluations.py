"""Evaluations during training: scores among the events, the bits of training unchanged, and resumed when killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from palmetto.decoding.engine import Engine
from palmetto.errors import UserError
from palmetto.files import read_json
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Event, read_events
from tests.references.command_runs import bits, command, contents

TASK = """
name: chosen
file: own.jsonl
context: "{question}"
options: [" def", " return", " the"]
gold: label
"""
EVALUATED = "training.evaluations={tasks: [own.yaml], data: sets, every: 2, limit: 3}"
FILES = ("ledger.jsonl", "outcomes.jsonl", "results.json")


class Killed(Exception):
    """Stands for what ends a process."""


@pytest.fixture
def sets(run: RunDirectory) -> Path:
    """Returns a folder with a set, beside a task that reads it."""
    Path("own.yaml").write_text(TASK)
    folder = Path("sets")
    folder.mkdir()
    records = [{"question": text, "label": n % 3} for n, text in enumerate(("if", "for", "else", "while"))]
    (folder / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def evaluations(run: RunDirectory) -> list[Event]:
    return [event for event in read_events(run.events) if event["event"] == "evaluation"]


def train(name: str, *overrides: str) -> RunDirectory:
    command("train", "tiny.yaml", "--run", name, *overrides)
    return RunDirectory(Path(name))


@pytest.mark.slow
def test_scores_are_events_and_training_keeps_its_bits(run: RunDirectory, sets: Path) -> None:
    evaluated = train("evaluated", EVALUATED)
    assert bits(evaluated) == bits(run)
    told = evaluations(evaluated)
    assert [event["step"] for event in told] == [2, 4, 6]
    command("eval", "evaluated", "--tasks", "own.yaml", "--data", sets, "--limit", 3, "--out", "out", "--step", 4)
    values = read_json(Path("out") / "results.json")["tasks"]["chosen"]
    assert told[1]["scores"]["chosen"]["value"] == values["value"]
    folder = evaluated.evaluations / "00000004"
    assert [(folder / name).read_bytes() for name in FILES] == [(Path("out") / name).read_bytes() for name in FILES]
    assert command("verify", folder) == 0
    command("report", "evaluated")
    assert "<h2>Evaluations</h2>" in evaluated.report.read_text()


@pytest.mark.slow
def test_a_killed_evaluation_goes_on(run: RunDirectory, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train("whole", EVALUATED)
    answer, calls = Engine.run, []

    def stop(self: Engine, requests: Any) -> Any:
        calls.append(requests)
        if len(calls) == 4:  # the second evaluation, half of it
            raise Killed
        return answer(self, requests)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", stop)
        with pytest.raises(Killed):
            train("killed", EVALUATED)
    killed = train("killed", EVALUATED)
    assert bits(killed) == bits(run)
    steps = [(event["step"], event["scores"]) for event in evaluations(whole)]
    assert [(event["step"], event["scores"]) for event in evaluations(killed)] == steps
    for place in ("00000002", "00000004", "00000006"):
        for name in FILES:
            assert (killed.evaluations / place / name).read_bytes() == (whole.evaluations / place / name).read_bytes()


def test_a_task_that_cannot_be_evaluated_is_refused(run: RunDirectory, sets: Path) -> None:
    before = contents(run)
    for tasks, message in (("[bolq]", "did you mean 'boolq'"), ("[boolq]", "BoolQ/val.jsonl: no such file")):
        with pytest.raises(UserError, match=f"training.evaluations: .*{message}"):
            train("run", f"training.evaluations={{tasks: {tasks}, data: sets}}", "training.steps=8")
    assert contents(run) == before
