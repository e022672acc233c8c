"""Experts' loads made fit to draw and to put into words. A load is a multiple of an even share: 1 is even, 0 dead."""

from typing import NamedTuple

import numpy as np

from palmetto.report.curves import Floats
from palmetto.training.report.record import Record

DEAD = 0.01
"""An expert with less than this of an even share learns nothing any more."""

MOST_ROWS = 64
"""Experts that a strip has room for."""

_COLUMNS = 40
_STRIPS = 3


class Loads(NamedTuple):
    """Loads along the live path, neighbouring measurements joined into the mean of a few dozen stretches at most."""

    layers: list[int]
    """The layers that have experts, counted from 0."""
    edges: Floats
    """[stretches + 1]: the steps at which a stretch ends and the next begins; the last is the newest measured."""
    load: Floats
    """[stretches, layers with experts, E], NaN where nothing finite was measured."""

    @property
    def last(self) -> Floats:
        """[layers with experts, E] over the last stretch."""
        last: Floats = self.load[-1]
        return last


class Expert(NamedTuple):
    """One expert and its load over the last stretch; layer and number count from 0."""

    load: float
    layer: int
    number: int


def loads(record: Record) -> Loads | None:
    """The loads of a run; None where there are none."""
    routing, model = record.routing, record.recipe.model
    if routing is None:
        return None
    counted = record.live[routing.measured]
    steps, load = record.step[routing.measured[counted]], routing.load[counted]
    if not len(steps):
        return None
    stretches = np.array_split(np.arange(len(steps)), min(_COLUMNS, len(steps)))
    # What is measured at a step stands for those since the measurement before it.
    edges = np.array([0.0, *(steps[stretch[-1]] for stretch in stretches)])
    means = np.stack([_mean(load[stretch]) for stretch in stretches])
    return Loads([layer for layer in range(model.layers) if model.has_experts(layer)], edges, means)


def _mean(load: Floats) -> Floats:
    """Over the first axis, what is not finite left out."""
    finite = np.isfinite(load)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(finite, load, 0.0).sum(axis=0) / finite.sum(axis=0)
    return mean


def ranked(found: Loads) -> list[Expert]:
    """All experts whose load at the end is known, the least loaded first."""
    experts = (
        Expert(float(load), layer, number)
        for layer, row in zip(found.layers, found.last, strict=True)
        for number, load in enumerate(row)
    )
    return sorted(expert for expert in experts if np.isfinite(expert.load))


def extremes(record: Record) -> tuple[Floats, Floats]:
    """The least and the greatest load of any expert, a value a ledger line; NaN where not measured."""
    least, most = np.full((2, len(record.step)), np.nan)
    if record.routing is not None:
        for line, load in zip(record.routing.measured, record.routing.load, strict=True):
            known = load[np.isfinite(load)]
            if len(known):
                least[line], most[line] = known.min(), known.max()
    return least, most


def strips(found: Loads) -> list[int]:
    """Places in `found.layers` of those to draw: all if they are few, else the first, the last and, of those between,
    the one that has the expert farthest from even at the end, by factors."""
    places = list(range(len(found.layers)))
    if len(places) <= _STRIPS:
        return places
    factors = np.abs(np.log(np.maximum(np.nan_to_num(found.last[1:-1], nan=1.0), 1e-9)))
    return [0, 1 + int(np.argmax(factors.max(axis=1))), places[-1]]


def rows(found: Loads, place: int) -> list[int]:
    """The experts of a layer by their load at the end, least first; of very many the least and the most loaded."""
    order = [int(number) for number in np.argsort(found.last[place], kind="stable")]
    return order if len(order) <= MOST_ROWS else order[: MOST_ROWS // 2] + order[-(MOST_ROWS // 2) :]
