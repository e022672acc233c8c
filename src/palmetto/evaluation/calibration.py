"""Compares how sure a model is of its options with how often it is right (Guo et al., arXiv 1706.04599, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from palmetto.evaluation.statistics import estimate
from palmetto.evaluation.tasks.task import Outcome
from palmetto.report.canvas import DASHED, STYLE, canvas, set_ticks
from palmetto.report.colours import LIGHT

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Holds the examples whose most probable option has a probability in one range."""

    confidence: float
    """The mean probability of these options."""
    accuracy: float
    """How often they are right."""
    interval: tuple[float, float]
    """The interval of 95 % of the accuracy."""
    count: int


def bins(outcomes: Sequence[Outcome]) -> list[Bin]:
    """Returns the bins that have examples, ascending.

    The probabilities of an example's options are the softmax of their log-likelihoods. Ties have no favourite, and are
    left out.
    """
    favourites = [_favourite(outcome.likelihoods) for outcome in outcomes]
    pairs = [(*of, outcome) for of, outcome in zip(favourites, outcomes, strict=True) if of is not None]
    places = [min(_BINS - 1, int(_BINS * probability)) for _, probability, _ in pairs]
    found = []
    for place in sorted(set(places)):
        own = [pair for pair, at in zip(pairs, places, strict=True) if at == place]
        right = [float(option in outcome.gold) for option, _, outcome in own]
        accuracy = estimate(right, [outcome.cluster for *_, outcome in own])
        confidence = float(np.mean([probability for _, probability, _ in own]))
        found.append(Bin(confidence, accuracy.value, accuracy.interval, len(own)))
    return found


def error(found: Sequence[Bin]) -> float:
    """Returns the expected calibration error: the mean distance of accuracy from confidence over all examples."""
    return float(np.average([abs(each.accuracy - each.confidence) for each in found], weights=_counts(found)))


@STYLE
def reliability(found: Sequence[Bin], width: int = 330, height: int = 170) -> Figure:
    """Returns a figure of accuracy over confidence, with intervals; on the dashed line they are equal."""
    figure, axes = canvas(width, height, left=48, right=10, top=10, bottom=26)
    axes.plot((0, 1), (0, 1), color=LIGHT["ink"], linewidth=1, linestyle=DASHED)
    sizes = np.sqrt(_counts(found) / max(_counts(found)))
    for each, size in zip(found, sizes, strict=True):
        axes.plot((each.confidence,) * 2, each.interval, color=LIGHT["train"], linewidth=1.4, solid_capstyle="butt")
        axes.plot(each.confidence, each.accuracy, color=LIGHT["train"], marker="o", markersize=3 + 5 * size)
    axes.set_xlim(0, 1.04)
    axes.set_ylim(-0.03, 1.03)
    set_ticks(axes.xaxis, 4)
    set_ticks(axes.yaxis, 4)
    return figure


def _counts(found: Sequence[Bin]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array([each.count for each in found], np.float64)


def _favourite(likelihoods: Sequence[float]) -> tuple[int, float] | None:
    """Returns the place of the most probable option and its probability; None if several share the highest."""
    best = max(likelihoods)
    if likelihoods.count(best) > 1:
        return None
    return likelihoods.index(best), 1 / float(np.sum(np.exp(np.array(likelihoods) - best)))
