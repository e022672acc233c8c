"""Prepares curves of any length for drawing: thins them without losing spikes, smooths them, and finds their scale."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def thin(x: Floats, y: Floats, width: float) -> tuple[Floats, Floats]:
    """Returns the points that a curve needs to look the same in columns of `width` (in units of x).

    They are each column's smallest and largest y, in their original order. Values that are not finite are left out.
    """
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
    """Returns the mean over `window` values around each, without those that are not finite.

    Near the beginning, where a loss falls fastest, the window is symmetric and shorter, so the curve starts at the
    first value.
    """
    finite = np.isfinite(y)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, y, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    middle = np.arange(len(y))
    half = np.minimum(window // 2, middle)
    first, end = middle - half, np.minimum(len(y), middle + half + 1)
    with np.errstate(invalid="ignore"):
        means: Floats = (sums[end] - sums[first]) / (counts[end] - counts[first])
    return means


def crest(values: Floats, window: int = 9) -> float:
    """Returns the height of a curve, ignoring peaks shorter than half of `window`; 1 if no value is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 1.0
    windows = np.lib.stride_tricks.sliding_window_view(finite, min(window, len(finite)))
    return float(np.median(windows, axis=1).max())


def spread(positions: list[float], gap: float) -> list[float]:
    """Returns positions in the same order, moved as little as needed to be at least `gap` apart."""
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
    """Returns a number in the short form of an axis: 2e-5, 0.01, 4,096, 250k, 1.5M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{letter}"
    if value and abs(value) < 1e-3 and math.isfinite(value):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.4g}"
