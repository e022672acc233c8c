"""Describes a suite: tasks that papers report together, and the means that they give of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from palmetto.evaluation.statistics import Estimate, mean_of_same


class Measured(NamedTuple):
    """Holds what was measured of a task, or of a group, whose mean over its tasks it then is."""

    estimate: Estimate
    """The score by the task's own metric."""
    metrics: Mapping[str, Estimate]
    """The metrics of a task that have an error; none of a group."""
    references: Mapping[str, float] = {}
    """The scores of others on a task, 0 to 100, by their names."""

    def by(self, *names: str) -> Estimate:
        """Returns the mean of several metrics."""
        return mean_of_same([self.metrics[name] for name in names])


Results = Mapping[str, Measured]
"""The measured values, by the name of the task or group."""
Means = dict[str, list[Estimate]]
"""The figures of a suite by name, each the mean of these estimates."""


class Suite(NamedTuple):
    """Holds what is reported together."""

    shots: Mapping[str, int]
    """The tasks and groups, each with its number of shots."""
    means: Callable[[Results], Means]
    """Returns the figures over those tasks that were run."""
    least: float = 0.0
    """The lowest value that a figure can have."""


def only(results: Results, names: Sequence[str]) -> list[Estimate]:
    """Returns the estimates of those of the named tasks that were run."""
    return [results[name].estimate for name in names if name in results]
