"""Adds the metrics of a model with experts to a fabricated run, in the form that training writes."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from palmetto.files import write_text
from palmetto.json_lines import read_json_lines
from palmetto.runs.directory import RunDirectory

Shares = Callable[[int], npt.NDArray[np.float64]]
"""step → load [layers with experts, E], which sums to 1 over experts."""


def even(layers: int, experts: int) -> Shares:
    """Returns the loads of experts that always share evenly."""
    return lambda step: np.full((layers, experts), 1 / experts)


def dying(layers: int, experts: int) -> Shares:
    """Returns loads in which expert 2 of the last layer loses its tokens to expert 0 and has none from step 60 on."""

    def shares(step: int) -> npt.NDArray[np.float64]:
        load = np.full((layers, experts), 1 / experts)
        lost = min(1.0, step / 60) / experts
        load[-1, 2] -= lost
        load[-1, 0] += lost
        return load

    return shares


def route(run: RunDirectory, shares: Shares, *, every: int = 10) -> None:
    """Adds router statistics to the run's metrics: numbers at each step, a load every `every` steps."""
    lines = read_json_lines(run.metrics)
    for line in lines:
        step = line["step"]
        line |= {"dropped": 0.2 / step, "entropy": 1.2 - step / 1000, "balance": 1 + 0.5 / step, "z": 4.0}
        if step % every == 0:
            line["load"] = np.round(shares(step), 5).tolist()
    write_metrics(run, lines)


def write_metrics(run: RunDirectory, lines: list[dict[str, Any]]) -> None:
    """Replaces metrics.jsonl; NaN is written as training writes it."""
    write_text(run.metrics, "".join(json.dumps(line) + "\n" for line in lines))
