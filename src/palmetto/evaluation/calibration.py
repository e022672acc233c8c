"""Compares how sure a model is of its options with how often it is right (Guo et al., arXiv 1706.04599, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from palmetto.evaluation.statistics import estimate
from palmetto.evaluation.tasks.task import Outcome


class Favourite(NamedTuple):
    """Holds the most probable option of an example."""

    probability: float
    right: bool
    cluster: str


@dataclass(frozen=True)
class Bin:
    """Holds the examples whose most probable option has a probability in one range."""

    confidence: float
    """The mean probability of these options."""
    accuracy: float
    """The share of these options that is right."""
    interval: tuple[float, float]
    """The interval of 95 % of the accuracy."""
    count: int


def favourites(outcomes: Sequence[Outcome]) -> list[Favourite]:
    """Returns the favourite of each example. Ties have none, and are left out.

    The probabilities of an example's options are the softmax of their log-likelihoods.
    """
    found = []
    for outcome in outcomes:
        best = max(outcome.likelihoods)
        if outcome.likelihoods.count(best) == 1:
            probability = 1 / float(np.sum(np.exp(np.array(outcome.likelihoods) - best)))
            right = outcome.likelihoods.index(best) in outcome.gold
            found.append(Favourite(probability, right, outcome.cluster))
    return found


def bins(given: Sequence[Favourite], count: int = 10) -> list[Bin]:
    """Returns the bins that have examples, ascending, of `count` of the same width."""
    places = np.digitize([each.probability for each in given], np.arange(1, count) / count).tolist()
    found = []
    for place in sorted(set(places)):
        own = [each for each, at in zip(given, places, strict=True) if at == place]
        accuracy = estimate([float(each.right) for each in own], [each.cluster for each in own])
        confidence = float(np.mean([each.probability for each in own]))
        found.append(Bin(confidence, accuracy.value, accuracy.interval, len(own)))
    return found


def error(found: Sequence[Bin]) -> float:
    """Returns the expected calibration error: the mean distance of accuracy from confidence over all examples."""
    distances = [abs(each.accuracy - each.confidence) for each in found]
    return float(np.average(distances, weights=[each.count for each in found]))
