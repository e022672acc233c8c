"""Each drill's judge accepts evidence of a kept promise, and rejects every way in which it can be broken."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palmetto.drills import kills, nans, pods, spikes, storage, tampering
from palmetto.drills.report import PromiseBroken, Report
from palmetto.recipe.training import Spikes, Training
from palmetto.training.ledger import Line

Judge = Callable[..., None]
Evidence = dict[str, Any]


def line(step: int, attempt: int = 0, **changes: Any) -> Line:
    values: dict[str, Any] = {
        "loss": 5.0,
        "grad_norm": 0.5,
        "parameter_norm": 9.0,
        "z": 1.0,
        "learning_rate": 0.01,
        "sequences": 8,
        "batch": f"{attempt} {step}",
        "applied": True,
    }
    return Line(step=step, attempt=attempt, **values | changes)


def nan_lines(**changes: Any) -> list[Line]:
    bad = {"loss": math.nan, "grad_norm": math.nan, "applied": False} | changes
    return [line(step, **(bad if step == nans.STEP else {})) for step in range(1, 21)]


SPIKE_LINES = [line(step) for step in range(1, 33)] + [line(step, 1) for step in range(22, 41)]
ROLLBACK = {"event": "rollback", "onset": 31, "target": 21, "batches": 20}
FILE = Path("disturbed/checkpoints/00000025/arrays/d/0")
TORN_EVENTS: list[dict[str, Any]] = [
    {"event": "damaged checkpoint", "text": f"{FILE}: altered since it was written"},
    {"event": "resume", "checkpoint": 20},
]

POD_EVENTS: list[dict[str, Any]] = [
    {"event": "pod joined", "pod": 0, "process": 1},
    {"event": "pod joined", "pod": 1, "process": 2},
    {"event": "pod lost", "pod": 1, "step": 12, "why": "ended by SIGKILL"},
    {"event": "leaves reassigned", "pod": 0, "step": 12, "leaves": [4, 5, 6, 7]},
    {"event": "pod joined", "pod": 1, "process": 3, "donor": 0},
    {"event": "pod lost", "pod": 0, "step": 40, "why": "no sign of life for 5 s"},
    {"event": "leaves reassigned", "pod": 1, "step": 40, "leaves": [0, 1, 2, 3]},
    {"event": "pod joined", "pod": 0, "process": 4, "donor": 1},
    {"event": "pod lost", "pod": 1, "step": 60, "why": "ended by SIGKILL"},
    {"event": "leaves reassigned", "pod": 0, "step": 60, "leaves": [4, 5, 6, 7]},
    {"event": "pod lost", "pod": 0, "step": 60, "why": "ended by SIGKILL"},
    {"event": "all pods lost", "step": 60},
    {"event": "resume", "checkpoint": 20},
    {"event": "pod joined", "pod": 0, "process": 5},
    {"event": "pod joined", "pod": 1, "process": 6},
]


def pod_events(index: int, **changes: Any) -> list[dict[str, Any]]:
    """Returns the events with one of them changed."""
    return [event | changes if each == index else event for each, event in enumerate(POD_EVENTS)]


NO_ROOM = "palmetto: disturbed/checkpoints/00000030: the checkpoint could not be written (d/1: File too large); …\n"

# For each drill the judge, the two rows that it compares, evidence of a kept promise, and of broken ones.
CASES: dict[str, tuple[Judge, tuple[str, str], Evidence, list[Evidence]]] = {
    "nan": (
        nans.judge,
        ("before step 13", "after step 13"),
        {"lines": nan_lines(), "events": [{"event": "skipped step", "step": 13}], "last": 20},
        [
            {"lines": nan_lines(applied=True)},
            {"lines": nan_lines(loss=5.0)},
            {"lines": nan_lines(grad_norm=0.5)},
            {"lines": [*nan_lines()[:-1], line(20, loss=math.nan)]},
            {"lines": [*nan_lines()[:-1], line(20, applied=False)]},
            {"lines": nan_lines()[:-1]},
            {"lines": nan_lines()[: nans.STEP - 1]},
            {"lines": []},
            {"events": []},
            {"events": [{"event": "skipped step", "step": 14}]},
        ],
    ),
    "spike": (
        spikes.judge,
        ("undisturbed, step 30", "disturbed, step 30"),
        {
            "training": Training(steps=40, batch_size={0: 8}, spikes=Spikes(window=16, patience=2, rewind=10, skip=20)),
            "lines": SPIKE_LINES,
            "events": [ROLLBACK],
            "answer": "verified: 51 steps, bit for bit",
        },
        [
            {"events": []},
            {"events": [ROLLBACK, ROLLBACK]},
            {"events": [ROLLBACK | {"onset": 32}]},
            {"events": [ROLLBACK | {"target": 20}]},
            {"events": [ROLLBACK | {"batches": 19}]},
            {"lines": [*SPIKE_LINES[:-1], line(40, 1, batch="0 32")]},
            {"lines": SPIKE_LINES[:-1], "answer": "verified: 50 steps, bit for bit"},
            {"lines": SPIKE_LINES[:30], "answer": "verified: 30 steps, bit for bit"},
            {"lines": [], "answer": "verified: 0 steps, bit for bit"},
            {"answer": "verified: 40 steps, bit for bit"},
            {"answer": "step 31: loss differs: recorded 5, replayed 6"},
        ],
    ),
    "kill": (
        kills.judge,
        ("undisturbed", "disturbed"),
        {"killed": kills.INSTANTS},
        [{"killed": []}, *({"killed": {*kills.INSTANTS} - {missed}} for missed in kills.INSTANTS)],
    ),
    "pod-loss": (
        pods.judge,
        ("undisturbed", "disturbed"),
        {"events": POD_EVENTS, "code": 1},
        [
            {"events": []},
            *({"events": [*POD_EVENTS[:index], *POD_EVENTS[index + 1 :]]} for index in (2, 3, 4, 5, 6, 7, 11, 12)),
            {"events": pod_events(2, why="no sign of life for 5 s")},
            {"events": pod_events(5, why="ended by SIGKILL")},
            {"events": pod_events(3, step=13)},
            {"events": pod_events(6, step=41)},
            {"events": pod_events(3, pod=1)},
            {"events": pod_events(4, donor=1)},
            {"events": pod_events(7, donor=None)},
            {"events": pod_events(12, checkpoint=0)},
            {"events": [POD_EVENTS[12], *POD_EVENTS[:12]]},
            {"code": 0},
            {"code": 2},
            {"code": None},
        ],
    ),
    "torn-checkpoint": (
        storage.judge_torn_checkpoint,
        ("undisturbed", "disturbed"),
        {"events": TORN_EVENTS, "file": FILE, "before": 20, "aside": [Path("checkpoints/damaged-00000025")]},
        [
            {"events": TORN_EVENTS[1:]},
            {"events": [TORN_EVENTS[0] | {"text": "something is damaged"}, TORN_EVENTS[1]]},
            {"events": [TORN_EVENTS[0], {"event": "resume", "checkpoint": 10}]},
            {"events": TORN_EVENTS[:1]},
            {"aside": []},
            {"aside": [Path("checkpoints/damaged-00000020")]},
        ],
    ),
    "full-disk": (
        storage.judge_full_disk,
        ("undisturbed", "disturbed"),
        {
            "error": f"step 30\n{NO_ROOM}",
            "whole": [10, 20, 25],
            "lines": 34,
            "answer": "verified: 34 steps, bit for bit",
        },
        [
            {"error": ""},
            {"error": "step 30\n"},
            {"error": f"Traceback (most recent call last):\n{NO_ROOM}"},
            {"error": NO_ROOM + NO_ROOM},
            {"error": f"{NO_ROOM}more words\n"},
            {"error": "palmetto: no room\n"},
            {"error": NO_ROOM.replace("File too large", "no idea")},
            {"error": NO_ROOM.replace("00000030", "00000040")},
            {"whole": [10, 20, 25, 30]},
            {"whole": [10, 20]},
            {"whole": []},
            {"answer": "step 30: checkpoint differs"},
            {"answer": "verified: 0 steps, bit for bit"},
            {"answer": "verified: 33 steps, bit for bit"},
            {"lines": 0, "answer": "verified: 0 steps, bit for bit"},
            {"lines": 29, "answer": "verified: 29 steps, bit for bit"},
        ],
    ),
    "ledger-tamper": (
        tampering.judge,
        ("intact", "altered"),
        {
            "to_the_byte": "step 12: ledger line: ledger.jsonl: line 12, step 12: not the line that was written",
            "to_the_forgery": "step 12: loss differs: recorded 4.25, replayed 5.25",
            "honest": 5.25,
            "claimed": 4.25,
        },
        [
            {"to_the_byte": "verified: 20 steps, bit for bit"},
            {"to_the_byte": "step 13: ledger line: ledger.jsonl: line 13, step 13: not the line that was written"},
            {"to_the_byte": "step 12: loss differs: recorded 4.25, replayed 5.25"},
            {"to_the_forgery": "verified: 20 steps, bit for bit"},
            {"to_the_forgery": "step 12: ledger line: ledger.jsonl: line 12, step 12: not the line that was written"},
            {"to_the_forgery": "step 12: grad_norm differs: recorded 4.25, replayed 5.25"},
            {"to_the_forgery": "step 13: loss differs: recorded 4.25, replayed 5.25"},
            {"to_the_forgery": "step 12: loss differs: recorded 4.25, replayed 4.5"},
        ],
    ),
}


def judged(name: str, changes: Evidence, *, equal: bool = True) -> Report:
    judge, rows, evidence, _ = CASES[name]
    report = Report(name, "", lambda text: None)
    report.compare({row: {"parameters": "a" if equal else row} for row in rows})
    judge(report, **evidence | changes)
    return report


@pytest.mark.parametrize("name", CASES)
def test_a_kept_promise_is_accepted(name: str) -> None:
    assert len(judged(name, {}).checks) >= 2


@pytest.mark.parametrize(
    ("name", "changes"), [(name, changes) for name, (*_, broken) in CASES.items() for changes in broken]
)
def test_a_broken_promise_is_rejected(name: str, changes: Evidence) -> None:
    with pytest.raises(PromiseBroken):
        judged(name, changes)


@pytest.mark.parametrize("name", [name for name in CASES if name != "ledger-tamper"])
def test_changed_bits_are_rejected(name: str) -> None:
    with pytest.raises(PromiseBroken, match="not the same parameters"):
        judged(name, {}, equal=False)
