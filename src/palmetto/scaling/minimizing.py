"""Minimizes sums of Huber losses from many starts at once, by Levenberg's and Marquardt's method."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.intp]
Residuals = Callable[[Floats, Numbers], tuple[Floats, Floats]]
"""Returns the residuals of parameters [S, P] of some starts, shape [S, n], and their derivatives, shape [S, n, P]."""

_MOST_STEPS = 400
_LEAST_GAIN = 1e-8
"""The relative gain below which a step is the last one."""
_MOST_DAMPING = 1e9
_TINY = 1e-14
"""Added to the curvature, so that a parameter that is held stays where it is."""


def huber(residuals: Floats, bend: float) -> Floats:
    """Returns the sum of Huber's loss over the last axis: r²/2 up to the bend, and from there on a straight line."""
    sizes = np.abs(residuals)
    sums: Floats = np.where(sizes <= bend, residuals**2 / 2, bend * (sizes - bend / 2)).sum(-1)
    return sums


def minimize(starts: Floats, residuals: Residuals, bend: float, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Returns the parameters that each start leads to, shape [S, P], and the sum of Huber losses there, shape [S].

    The weight of a residual beyond the bend is bend/|r|, as in iteratively reweighted least squares. A step that does
    not lower the loss is not taken, and the next is shorter. low, high: bounds of the parameters, shape [P].
    """
    ends, losses = np.clip(starts, low, high), np.empty(len(starts))
    active = np.arange(len(starts))
    at, damping = ends.copy(), np.full(len(starts), 1e-3)
    found, slopes = residuals(at, active)
    loss = huber(found, bend)
    for _ in range(_MOST_STEPS):
        weighted = slopes * (bend / np.maximum(np.abs(found), bend))[..., None]
        curvature = np.swapaxes(weighted, -1, -2) @ slopes
        gradient = (weighted * found[..., None]).sum(-2)
        own = np.einsum("spp->sp", curvature)
        damped = curvature + (damping[:, None] * own + _TINY)[..., None] * np.eye(at.shape[-1])
        tried = np.clip(at - np.linalg.solve(damped, gradient[..., None])[..., 0], low, high)
        there, their_slopes = residuals(tried, active)
        gained = loss - huber(there, bend)
        better = gained > 0
        at, found = np.where(better[:, None], tried, at), np.where(better[:, None], there, found)
        slopes = np.where(better[:, None, None], their_slopes, slopes)
        moving = np.where(better, gained > _LEAST_GAIN * loss, damping < _MOST_DAMPING)
        loss = np.where(better, loss - gained, loss)
        damping = np.where(better, damping / 4, damping * 8)
        ends[active], losses[active] = at, loss
        if not moving.any():
            break
        active, at, found, slopes = active[moving], at[moving], found[moving], slopes[moving]
        loss, damping = loss[moving], damping[moving]
    return ends, losses
