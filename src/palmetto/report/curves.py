"""Curves of any length made fit to draw: thinned without losing spikes, smoothed, and kept on scale."""

import math

import numpy as np

from palmetto.report.record import Floats


def thin(x: Floats, y: Floats, width: float) -> tuple[Floats, Floats]:
    """The points that a curve needs to look the same in columns of `width` (in units of x): each column's least and
    greatest y, in the order they come in. What is not finite is left out."""
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not len(x):
        return x, y
    column = np.floor(x / width)
    order = np.lexsort((y, column))
    starts = np.flatnonzero(np.diff(column[order], prepend=-np.inf))
    ends = np.append(starts[1:], len(x)) - 1
    kept = np.unique(np.concatenate([order[starts], order[ends]]))
    return x[kept], y[kept]


def smooth(y: Floats, window: int) -> Floats:
    """The mean over `window` values around each (fewer at the ends); what is not finite is left out of it."""
    finite = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    middle = np.arange(len(y))
    first, end = np.maximum(0, middle - window // 2), np.minimum(len(y), middle + window // 2 + 1)
    with np.errstate(invalid="ignore"):
        means: Floats = (sums[end] - sums[first]) / (counts[end] - counts[first])
    return means


def top_of(values: Floats) -> float:
    """A scale's upper end that shows the run of the values: the greatest, unless that dwarfs 99 % of them."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 1.0
    usual, greatest = float(np.quantile(finite, 0.99)), float(finite.max())
    return greatest if greatest <= 4 * usual else 2 * usual


def spread(positions: list[float], gap: float) -> list[float]:
    """Positions moved as little as needed so that neighbours are at least `gap` apart, in the same order."""
    order = sorted(range(len(positions)), key=positions.__getitem__)
    moved = [positions[i] for i in order]
    for _ in range(100):
        for low, high in zip(range(len(moved)), range(1, len(moved)), strict=False):
            overlap = gap - (moved[high] - moved[low])
            if overlap > 1e-9:
                moved[low], moved[high] = moved[low] - overlap / 2, moved[high] + overlap / 2
    back = dict(zip(order, moved, strict=True))
    return [back[i] for i in range(len(positions))]


def compact(value: float) -> str:
    """A number as short as an axis wants it: 2e-5, 0.01, 4,096, 250k, 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{letter}"
    if value and abs(value) < 1e-3 and math.isfinite(value):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.4g}"
