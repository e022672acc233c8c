"""Prepares the experts' loads for figures and text. A load is a multiple of an even share: 1 is even, 0 is dead."""

from typing import NamedTuple

import numpy as np

from palmetto.report.curves import Floats
from palmetto.training.report.record import Record

DEAD = 0.01
"""An expert with a load below this hardly learns any more, and counts as dead."""

MOST_ROWS = 64
"""The most experts in the figure of a layer."""

_COLUMNS = 40
_STRIPS = 3


class Loads(NamedTuple):
    """The loads along the live path, as means over at most a few dozen stretches of measurements."""

    layers: list[int]
    """The layers that have experts, counted from 0."""
    edges: Floats
    """The steps between stretches, shape [stretches + 1]. The last is the newest measured step."""
    load: Floats
    """The mean loads, shape [stretches, layers with experts, E], NaN if nothing finite was measured."""

    @property
    def last(self) -> Floats:
        """The loads over the last stretch, shape [layers with experts, E]."""
        last: Floats = self.load[-1]
        return last


class Expert(NamedTuple):
    """An expert and its load over the last stretch. Layer and number count from 0."""

    load: float
    layer: int
    number: int


def loads(record: Record) -> Loads | None:
    """Returns the loads of a run, or None if none was measured."""
    routing, model = record.routing, record.recipe.model
    if routing is None:
        return None
    counted = record.live[routing.measured]
    steps, load = record.step[routing.measured[counted]], routing.load[counted]
    if not len(steps):
        return None
    stretches = np.array_split(np.arange(len(steps)), min(_COLUMNS, len(steps)))
    # A measurement stands for all steps since the measurement before it.
    edges = np.array([0.0, *(steps[stretch[-1]] for stretch in stretches)])
    means = np.stack([_mean(load[stretch]) for stretch in stretches])
    return Loads([layer for layer in range(model.layers) if model.has_experts(layer)], edges, means)


def _mean(load: Floats) -> Floats:
    """Returns the mean over the first axis, without values that are not finite."""
    finite = np.isfinite(load)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(finite, load, 0.0).sum(axis=0) / finite.sum(axis=0)
    return mean


def ranked(found: Loads) -> list[Expert]:
    """Returns all experts whose load at the end is known, the least loaded first."""
    experts = (
        Expert(float(load), layer, number)
        for layer, row in zip(found.layers, found.last, strict=True)
        for number, load in enumerate(row)
    )
    return sorted(expert for expert in experts if np.isfinite(expert.load))


def extremes(record: Record) -> tuple[Floats, Floats]:
    """Returns the smallest and the largest load of any expert for each ledger line, NaN if not measured."""
    least, most = np.full((2, len(record.step)), np.nan)
    if record.routing is not None:
        for line, load in zip(record.routing.measured, record.routing.load, strict=True):
            known = load[np.isfinite(load)]
            if len(known):
                least[line], most[line] = known.min(), known.max()
    return least, most


def strips(found: Loads) -> list[int]:
    """Returns the indices in `found.layers` of the layers to draw.

    These are all layers if they are few, and otherwise the first, the last, and the layer in between with the expert
    whose load at the end differs from even by the largest factor.
    """
    places = list(range(len(found.layers)))
    if len(places) <= _STRIPS:
        return places
    factors = np.abs(np.log(np.maximum(np.nan_to_num(found.last[1:-1], nan=1.0), 1e-9)))
    return [0, 1 + int(np.argmax(factors.max(axis=1))), places[-1]]


def rows(found: Loads, place: int) -> list[int]:
    """Returns the experts of a layer by their load at the end, least first; if they are too many, only both ends."""
    order = [int(number) for number in np.argsort(found.last[place], kind="stable")]
    return order if len(order) <= MOST_ROWS else order[: MOST_ROWS // 2] + order[-(MOST_ROWS // 2) :]
