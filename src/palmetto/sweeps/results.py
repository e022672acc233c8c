"""What came of a sweep: its choices, its points, and statistics over seeds. Losses are nats a token."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from palmetto.training.report.record import Validations


@dataclass(frozen=True)
class Choice:
    """One combination of the axes' values."""

    values: tuple[str, ...]
    """The label on each axis that varies."""
    overrides: tuple[str, ...]
    """What it changes in the recipe, as key.path=value."""
    parameters: int
    active: int
    """Parameters that a token passes through."""
    flops_per_token: float

    @property
    def label(self) -> str:
        """What it is called in figures."""
        return ", ".join(self.values)


@dataclass(frozen=True)
class Point:
    """One model: a choice trained with a seed."""

    choice: int
    """Which of the sweep's choices."""
    seed: int
    directory: str
    """Of the run, from that of the sweep."""
    status: Literal["done", "failed", "waiting"]
    reason: str
    """Why it failed, in one line."""
    steps: int
    """Taken along the live path."""
    validations: Validations
    digest: str | None
    """SHA-256 of the parameters at the end of a finished run."""

    @property
    def loss(self) -> float | None:
        """The final validation loss, of a finished point alone."""
        return float(self.validations.loss[-1]) if self.status == "done" else None


class Statistics(NamedTuple):
    """Of one choice over its finished seeds; None where there are too few for it."""

    seeds: int
    mean: float | None
    deviation: float | None
    """The sample standard deviation of the losses."""
    difference: float | None
    """The mean, over the seeds that both finished, of this choice's loss less the first choice's."""
    standard_error: float | None
    """Of that difference: the deviation of the paired differences over √n."""


@dataclass(frozen=True)
class Sweep:
    """Every point of a sweep as it stands."""

    name: str
    axes: tuple[str, ...]
    """The axes that vary."""
    fixed: tuple[str, ...]
    """The overrides that hold for every point."""
    seeds: int
    comparable: bool
    """Whether all choices count the same tokens, so that their losses can be held against each other."""
    choices: tuple[Choice, ...]
    points: tuple[Point, ...]

    def of(self, choice: int) -> list[Point]:
        """A choice's points, by seed."""
        return sorted((point for point in self.points if point.choice == choice), key=lambda point: point.seed)

    @property
    def failed(self) -> list[Point]:
        """The points that failed."""
        return [point for point in self.points if point.status == "failed"]

    def losses(self, choice: int) -> dict[int, float]:
        """Seed → final validation loss of a choice's finished points."""
        return {point.seed: point.loss for point in self.of(choice) if point.loss is not None}

    def statistics(self, choice: int) -> Statistics:
        """Of a choice against the first."""
        ours, first = self.losses(choice), self.losses(0)
        mean, deviation = estimate(list(ours.values()))
        if choice == 0:
            return Statistics(len(ours), mean, deviation, None, None)
        paired = [loss - first[seed] for seed, loss in ours.items() if seed in first]
        difference, spread = estimate(paired)
        error = None if spread is None else spread / math.sqrt(len(paired))
        return Statistics(len(ours), mean, deviation, difference, error)


def estimate(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The mean, None of nothing, and the sample standard deviation, None of fewer than two."""
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )
