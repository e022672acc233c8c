"""Whole runs of each objective, and of each kind of model with state of its own, have the same bits when resumed."""

import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.references.whole_runs import Runs

pytestmark = pytest.mark.slow

SHORT = (
    "training.steps=14",
    "training.batch_size=2",
    "training.checkpoint_every=5",
    "training.evaluate_every=7",
    "training.validation_windows=4",
    "training.digest_every=4",
)
GLAM = (
    "model.layers=2",
    "model.experts={count: 4, every: 2, feedforward: gelu}",
    "model.feedforward=geglu",
    "model.block=serial",
    "model.norm=rms",
    "training.optimizer={momentum: 0, decay: 0.99, update_clip: 1, factored: true, weight_decay: false}",
)


Lines = list[dict[str, Any]]
PALM = 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 128 + 32
"""The number of parameters after the embedding: a norm and seven matrices in its layer, and a norm."""


def has_scaled(ledger: Lines, metrics: Lines, events: Lines) -> None:
    assert not ledger[0]["applied"], "the first scale must overflow"
    assert ledger[0]["loss_scale"] == 2**20
    changes = {(was["applied"], line["loss_scale"] / was["loss_scale"]) for was, line in itertools.pairwise(ledger)}
    assert changes == {(False, 0.5), (True, 1.0), (True, 2.0)}
    told = [event for event in events if event["event"] in ("overflow", "skipped step")]
    assert [(event["event"], event["step"]) for event in told] == [
        ("overflow", line["step"]) for line in ledger if not line["applied"]
    ]
    assert told[0]["text"] == "step 1: a gradient overflowed at loss scale 1048576; parameters left as they were"


def has_dropped(ledger: Lines, metrics: Lines, events: Lines) -> None:
    assert all(0 < measured["dropped"] < 1 for measured in metrics)


def is_dropless(ledger: Lines, metrics: Lines, events: Lines) -> None:
    assert all(measured["dropped"] == 0 for measured in metrics)
    (load,) = metrics[3]["load"]
    assert len(load) == 4
    assert sum(load) == pytest.approx(1, abs=1e-4)


class Case(NamedTuple):
    name: str
    overrides: tuple[str, ...]
    parameters: int | None = None
    """Returns the embedding's rows in PaLM's model: the vocabulary of 512 and the ids of a window of 33 tokens."""
    check: Callable[[Lines, Lines, Lines], None] = lambda ledger, metrics, events: None


CASES = [
    Case("prefix", ("training.objective.name=prefix", "model.activations=bfloat16"), 32 * 512 + PALM),
    Case("spans", ("training.objective.name=spans",), 32 * (512 + 2) + PALM),
    Case(
        "mixture",
        ("training.objective.name=mixture", "model.attention={name: local, window: 9}"),
        32 * (512 + 5 + 3) + PALM,
    ),
    Case(
        "float16",
        ("model.activations=float16", "training.loss_scale={initial: 1048576, growth_interval: 4}"),
        32 * 512 + PALM,
        has_scaled,
    ),
    Case("capacity", ("model.experts={count: 4, every: 1, capacity_factor: 0.6}",), check=has_dropped),
    Case("glam", GLAM, check=is_dropless),
]


def read_lines(runs: Runs, run: str, name: str) -> Lines:
    return [json.loads(line) for line in (runs.folder / run / name).read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_stopped_run_has_the_same_bits(prepared: Runs, case: Case) -> None:
    whole, pieces, overrides = f"{case.name}-whole", f"{case.name}-pieces", (*SHORT, *case.overrides)
    prepared.train(whole, *overrides)
    prepared.train(pieces, *overrides, "--until", 9)
    assert len(read_lines(prepared, pieces, "ledger.jsonl")) == 9
    prepared.train(pieces, *overrides)

    summary, again = (json.loads((prepared.folder / run / "summary.json").read_text()) for run in (whole, pieces))
    assert again["digest"] == summary["digest"]
    assert (prepared.folder / pieces / "ledger.jsonl").read_bytes() == (
        prepared.folder / whole / "ledger.jsonl"
    ).read_bytes()
    assert json.loads(prepared("verify", pieces, "--json")[0]) == {"verified": True, "steps": 14}

    assert summary["validation_loss"]["last"] < summary["validation_loss"]["first"]
    if case.parameters is not None:
        assert summary["parameters"] == case.parameters
    case.check(*(read_lines(prepared, whole, f"{name}.jsonl") for name in ("ledger", "metrics", "events")))
