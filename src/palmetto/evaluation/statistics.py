"""Says how far a score can be trusted, as Miller proposes (arXiv 2411.00640).

The standard error of a mean is that of the central limit theorem, with scores of one cluster, such as the questions on
one passage, counted together.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054
"""The standard normal distribution's 97.5th percentile, for intervals of 95 %."""
_POWER = 0.8416212335729143
"""Its 80th percentile, for a power of 80 %."""


class Estimate(NamedTuple):
    """Holds a mean with its standard error and its 95 % interval."""

    value: float
    error: float
    interval: tuple[float, float]

    def centred(self, chance: float, best: float = 1.0) -> "Estimate":
        """Returns the estimate so scaled that it is 0 at chance and 1 at the best value."""
        value, low, high = ((each - chance) / (best - chance) for each in (self.value, *self.interval))
        return Estimate(value, self.error / (best - chance), (low, high))

    def scaled(self, factor: float) -> "Estimate":
        """Returns the estimate times a factor that is not negative."""
        value, error, low, high = (factor * each for each in (self.value, self.error, *self.interval))
        return Estimate(value, error, (low, high))


class Comparison(NamedTuple):
    """Holds the mean difference of two runs on the same examples."""

    difference: Estimate
    examples: int
    """The number of these examples."""
    needed: int | None
    """The number of examples that would show this difference at 5 % with a power of 80 %; None if there is none."""


def standard_error(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Returns the standard error of the mean; NaN for a single cluster.

    It is √(G/(G−1) · Σ (Σ of deviations in a cluster)²) / n for G clusters, which for clusters of one value each is the
    central limit theorem's.
    """
    deviations = np.asarray(values, np.float64) - np.mean(values)
    _, places = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(places, weights=deviations)
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * float(np.sum(sums**2))) / len(values)


def estimate(values: Sequence[float], clusters: Sequence[str], bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """Returns the mean of scores with an interval within their bounds.

    Where all are 0 or all are 1, the interval is Wilson's, since the central limit theorem would call them certain.
    A single cluster says nothing: the interval is all that is within the bounds, or, if there is only one, as far on
    the other side of the mean.
    """
    mean, error = float(np.mean(values)), standard_error(values, clusters)
    if math.isnan(error):
        low, high = bounds
        if not math.isfinite(high):
            return Estimate(mean, error, (low, 2 * mean - low))
        return Estimate(mean, error, (low if math.isfinite(low) else 2 * mean - high, high))
    if set(values) in ({0.0}, {1.0}):
        width = Z**2 / (len(set(clusters)) + Z**2)
        return Estimate(mean, error, (1 - width, 1.0) if mean else (0.0, width))
    return Estimate(mean, error, (max(bounds[0], mean - Z * error), min(bounds[1], mean + Z * error)))


def influences(counts: Sequence[Sequence[float]], score: Callable[[Sequence[float]], float]) -> list[float]:
    """Returns a value for each example, whose mean is the score of all counts added up, as corpus BLEU is.

    They are the pseudo-values of the jackknife (Efron and Stein, 1981): they differ by how much the score of all others
    is lower, n−1 times. The standard error of their mean is then that of the score.
    """
    each = np.asarray(counts, np.float64)
    whole = each.sum(axis=0)
    others = np.array([score((whole - own).tolist()) for own in each])
    return list(score(whole.tolist()) + (len(each) - 1) * (others.mean() - others))


def weighed_alike(parts: Sequence[Sequence[float]]) -> list[float]:
    """Returns a value for each value of all parts, whose mean is the mean of the parts' means.

    Each differs from it by its own difference, times the weight of its part over its share of all values. So the
    standard error of their mean is that of the weighted mean, also where parts share clusters or have a single value.
    """
    mean, count = float(np.mean([np.mean(part) for part in parts])), sum(map(len, parts))
    weights = [count / (len(parts) * len(part)) for part in parts]
    return [mean + weight * (value - mean) for part, weight in zip(parts, weights, strict=True) for value in part]


def ratio(numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[str]) -> Estimate:
    """Returns the ratio of two sums, such as bits by bytes, with the error of the linearized ratio."""
    whole = float(np.sum(denominators))
    value = float(np.sum(numerators)) / whole
    residuals = np.asarray(numerators, np.float64) - value * np.asarray(denominators, np.float64)
    error = standard_error(residuals.tolist(), clusters) * len(numerators) / whole
    reach = value if math.isnan(error) else Z * error
    return Estimate(value, error, (max(0.0, value - reach), value + reach))


def compare(ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[str]) -> Comparison:
    """Returns how much higher `theirs` are than `ours`, paired by example."""
    differences = [their - our for our, their in zip(ours, theirs, strict=True)]
    mean, error = float(np.mean(differences)), standard_error(differences, clusters)
    reach = max(1.0, abs(mean)) if math.isnan(error) else Z * error
    return _compared(Estimate(mean, error, (mean - reach, mean + reach)), len(differences))


def mean_of_compared(parts: Sequence[Comparison], sets: Sequence[Hashable] | None = None) -> Comparison:
    """Returns the mean of differences, as on several tasks, each of the same weight. sets: as of `mean_of`."""
    difference = mean_of([part.difference for part in parts], math.inf, -math.inf, sets)
    return _compared(difference, sum(part.examples for part in parts))


def _compared(difference: Estimate, count: int) -> Comparison:
    needed = None
    if difference.value and not math.isnan(difference.error):
        needed = max(1, math.ceil(count * ((Z + _POWER) * difference.error / difference.value) ** 2))
    return Comparison(difference, count, needed)


def mean_of_same(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the mean of estimates on the same examples, as by several metrics.

    Its error is their mean error, as if all were high or low together: it cannot be larger.
    """
    value, error, low, high = np.mean([(each.value, each.error, *each.interval) for each in estimates], axis=0).tolist()
    return Estimate(value, error, (low, high))


def mean_of(
    estimates: Sequence[Estimate],
    most: float = 1.0,
    least: float = 0.0,
    sets: Sequence[Hashable] | None = None,
) -> Estimate:
    """Returns the mean of estimates, as of tasks, each of the same weight.

    most, least: the bounds of the interval. sets: what each estimate is on. Those on the same count as if all were high
    or low together, and those on others, or without sets, as independent.
    """
    if len(estimates) == 1:
        return estimates[0]
    value = float(np.mean([each.value for each in estimates]))
    errors = dict[Hashable, float]()
    for own, each in zip(range(len(estimates)) if sets is None else sets, estimates, strict=True):
        errors[own] = errors.get(own, 0.0) + each.error
    error = math.sqrt(sum(error**2 for error in errors.values())) / len(estimates)
    reach = max(1.0, abs(value)) if math.isnan(error) else Z * error
    return Estimate(value, error, (max(least, value - reach), min(most, value + reach)))
