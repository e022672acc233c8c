"""Runs of the real loop over simulated steps with spikes."""

import math
import time
from pathlib import Path

from palmetto.recipe import Recipe
from palmetto.training.retention import cell
from palmetto.training.spikes import reach
from tests.references.simulated import Back, Curve
from tests.references.spike_runs import calm, loss_spike

LITTLE = (
    "training.spikes={window: 8, patience: 2, nonfinite_patience: 3, rewind: 6, skip: 14, attempts: 3}",
    "training.batch_size={0: 8, 100: 16}",
)


def spikes_at(*onsets: int, length: int = 3) -> "Curve":
    """Returns a curve whose n-th attempt has a spike at the n-th onset."""

    def curve(attempt: int, step: int, position: int) -> object:
        onset = onsets[attempt] if attempt < len(onsets) else math.inf
        return (loss_spike if onset <= step < onset + length else calm)(step, position)

    return curve  # type: ignore[return-value]


def fresh(folder: Path) -> Path:
    """Returns a new directory for an example of a property."""
    return folder / f"{time.monotonic_ns()}"


def check_covered(recipe: Recipe, backs: list[Back]) -> None:
    """Asserts that each rollback resumed at most one cell before the best checkpoint ever written."""
    near = reach(recipe.training.spikes)
    for back in backs:
        assert back.base <= back.best <= back.rollback.target
        assert back.best - back.base < cell(back.top - back.base, near), back
