"""The results of a sweep: its choices, its points, and statistics over seeds. Losses are in nats a token."""

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
    """The changes in the recipe, as key.path=value."""
    parameters: int
    """The number of all parameters."""
    active: int
    """The number of parameters that a token passes through."""
    flops_per_token: float

    @property
    def label(self) -> str:
        """The name of the choice in figures."""
        return ", ".join(self.values)


@dataclass(frozen=True)
class Point:
    """One model of the sweep: a choice trained with a seed."""

    choice: int
    """The index of its choice."""
    seed: int
    directory: str
    """The run directory, relative to that of the sweep."""
    status: Literal["done", "failed", "waiting"]
    reason: str
    """The reason why it failed, in one line, or an empty string."""
    steps: int
    """The number of steps on the live path."""
    validations: Validations
    digest: str | None
    """The SHA-256 of the parameters at the end of a finished run."""

    @property
    def loss(self) -> float | None:
        """The final validation loss, or None if the point is not finished."""
        return float(self.validations.loss[-1]) if self.status == "done" else None


class Statistics(NamedTuple):
    """The statistics of one choice over its finished seeds. A value is None if there are too few seeds for it."""

    seeds: int
    """The number of finished seeds."""
    mean: float | None
    """The mean of the final validation losses."""
    deviation: float | None
    """The sample standard deviation of the losses."""
    difference: float | None
    """The mean of this choice's loss minus the first choice's, over the seeds that both have finished."""
    standard_error: float | None
    """The standard error of that difference: the deviation of the paired differences over √n."""


@dataclass(frozen=True)
class Sweep:
    """The present results of a sweep."""

    name: str
    axes: tuple[str, ...]
    """The axes that vary."""
    fixed: tuple[str, ...]
    """The overrides that hold for every point."""
    seeds: int
    comparable: bool
    """True if all choices have the same text and tokens, so that their losses can be compared."""
    choices: tuple[Choice, ...]
    points: tuple[Point, ...]

    def of(self, choice: int) -> list[Point]:
        """Returns the points of a choice in the order of their seeds."""
        return sorted((point for point in self.points if point.choice == choice), key=lambda point: point.seed)

    @property
    def failed(self) -> list[Point]:
        """The points that failed."""
        return [point for point in self.points if point.status == "failed"]

    def losses(self, choice: int) -> dict[int, float]:
        """Returns the final validation losses of a choice's finished points, by seed."""
        return {point.seed: point.loss for point in self.of(choice) if point.loss is not None}

    def statistics(self, choice: int) -> Statistics:
        """Returns the statistics of a choice, compared with the first choice."""
        ours, first = self.losses(choice), self.losses(0)
        mean, deviation = estimate(list(ours.values()))
        if choice == 0:
            return Statistics(len(ours), mean, deviation, None, None)
        paired = [loss - first[seed] for seed, loss in ours.items() if seed in first]
        difference, spread = estimate(paired)
        error = None if spread is None else spread / math.sqrt(len(paired))
        return Statistics(len(ours), mean, deviation, difference, error)


def estimate(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns the mean, or None without values, and the sample standard deviation, or None with fewer than two."""
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )
