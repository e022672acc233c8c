"""Says what each example adds to a score, whether the score is a mean or that of all answers together."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from palmetto.evaluation.bleu import bleu_of
from palmetto.evaluation.statistics import Estimate, estimate, influences, ratio, weighed_alike
from palmetto.evaluation.tasks.task import AS_THEY_ARE, BITS, Outcome

POOLED: Mapping[str, Callable[[Sequence[float]], float]] = {"bleu": bleu_of}
"""The metrics that are computed from counts of all answers added up, each with the function of these counts."""

TRANSLATED = frozenset({"flores", "mgsm_direct", "xcopa", "xquad"})
"""The groups whose parts ask the same in several languages, in the same order."""


def cluster_in(group: str, part: str, outcome: Outcome) -> str:
    """Returns what an outcome has in common with others of a group: of translations, also with those of other parts."""
    return outcome.cluster if group in TRANSLATED else f"{part}\0{outcome.cluster}"


def values(metric: str, outcomes: Sequence[Outcome]) -> list[float]:
    """Returns a value for each outcome, whose mean is the score of all, and whose spread is its error.

    Of texts, these are values of the linearized ratio; of pooled metrics, influences.
    """
    if metric == BITS:
        size = sum(outcome.size for outcome in outcomes)
        rate, mean_size = sum(outcome.bits for outcome in outcomes) / size, size / len(outcomes)
        return [rate + (outcome.bits - rate * outcome.size) / mean_size for outcome in outcomes]
    if metric in POOLED:
        return influences([outcome.counts[metric] for outcome in outcomes], POOLED[metric])
    if metric == "log_likelihood":
        return [float(functools.reduce(np.logaddexp, outcome.likelihoods)) for outcome in outcomes]
    return [outcome.scores.get(metric, 0.0) for outcome in outcomes]


def estimate_of(metric: str, outcomes: Sequence[Outcome], clusters: Sequence[str]) -> Estimate:
    """Returns the score of all outcomes with its interval.

    clusters: by outcome, what its score has in common with those of others.
    """
    if metric == BITS:
        return ratio([outcome.bits for outcome in outcomes], [outcome.size for outcome in outcomes], clusters)
    bounds = (-math.inf, 0.0) if metric in AS_THEY_ARE else (0.0, 1.0)
    return estimate(values(metric, outcomes), clusters, bounds)


def macro_of(metric: str, parts: Sequence[Sequence[Outcome]]) -> Estimate:
    """Returns the mean score of parts, each of the same weight, that share clusters, as translations of a set do."""
    clusters = [outcome.cluster for part in parts for outcome in part]
    bounds = (0.0, math.inf if metric == BITS else 1.0)
    return estimate(weighed_alike([values(metric, part) for part in parts]), clusters, bounds)


def f1_of(
    said: Sequence[Hashable], right: Sequence[Hashable], labels: Sequence[Hashable], clusters: Sequence[str]
) -> Estimate:
    """Returns the mean F1 over those of the labels that occur, with the error of the jackknife."""
    counts = [label_counts([one], [other], labels) for one, other in zip(said, right, strict=True)]
    return estimate(influences(counts, mean_f1), clusters)


def label_counts(said: Sequence[Hashable], right: Sequence[Hashable], labels: Sequence[Hashable]) -> list[float]:
    """Returns for each label how often it is said, how often it is right, and how often both."""
    both = [one for one, other in zip(said, right, strict=True) if one == other]
    tallies = Counter(said), Counter(right), Counter(both)
    return [float(tally[label]) for label in labels for tally in tallies]


def mean_f1(counts: Sequence[float]) -> float:
    """Returns the mean F1 over those of the counted labels that occur; 0 if none does."""
    said, right, both = np.reshape(counts, (-1, 3)).T
    occurs = said + right > 0
    return float(np.mean(2 * both[occurs] / (said + right)[occurs])) if occurs.any() else 0.0
