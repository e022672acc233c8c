"""Predicts a task's score from its loss: the second of two steps, after the loss by parameters and tokens.

The score rises from what guessing gives to a top as the loss of the right answers falls, along a logistic curve (model
ladders, arXiv 2412.04403, equation 2). Scores are between 0 and 1.
"""

import itertools
from typing import NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.scaling.intervals import Fit, interval, noises_of
from palmetto.scaling.minimizing import Floats, Numbers, minimize

_CONSTANTS = 3
_SPREAD, _DRAWN, _AROUND = 2, 3, 4
"""Each use of chance adds one of these to the seed: draws of curves go with draws of laws, which add 0 and 1."""
_NEVER = 10.0
"""A bend of Huber's loss that no score reaches, so that the fit is one of least squares."""


class Curve(NamedTuple):
    """Holds score(loss) = chance + (top − chance) / (1 + exp(steepness · (loss − middle))), once or many times."""

    chance: float
    top: Floats
    middle: Floats
    steepness: Floats

    def __call__(self, losses: Floats) -> Floats:
        """Returns the scores at losses; many curves take one loss each."""
        scores: Floats = self.chance + (self.top - self.chance) * _logistic(self.steepness * (self.middle - losses))
        return scores


class Scores(NamedTuple):
    """Holds the best curve of a task, and curves that its runs might have had as well."""

    curve: Curve
    noise: float | None
    """The standard deviation of a score around the curve; None with too few runs to tell."""
    curves: Curve | None
    """The curves of the draws; None without a noise."""
    noises: Floats
    """The noise of each draw, shape [draws]."""

    def predict(self, losses: Fit, x: Floats, seed: int = 0) -> tuple[float, tuple[float, float] | None]:
        """Returns the score at `x`, through the loss there, and the interval that holds it with 95 %."""
        score = float(self.curve(losses.law(x)))
        if self.curves is None or losses.laws is None:
            return score, None
        around = self.noises * np.random.default_rng(seed + _AROUND).standard_normal(len(self.noises))
        return score, interval(np.clip(self.curves(losses.laws(x)) + around, 0.0, 1.0))


def fit(losses: Floats, scores: Floats, chance: float, seed: int = 0) -> Scores:
    """Returns the curve that fits the runs best: losses and scores of shape [n].

    Raises UserError if there are too few different losses.
    """
    if (found := len(np.unique(losses))) < _CONSTANTS:
        raise UserError(f"{found} different losses of a task; expected at least {_CONSTANTS} for a curve of scores")
    spread = float(np.ptp(losses))
    middles = np.linspace(losses.min() - spread, losses.max() + spread, 13)
    starts = np.array(list(itertools.product([1.0], middles, np.array([1.0, 4.0, 16.0]) / spread)))
    ends, reached = _minimize(starts, losses, scores[None], chance)
    best = ends[reached.argmin()]
    curve = Curve(chance, *best)
    noise, noises = noises_of(curve(losses) - scores, _CONSTANTS, seed + _SPREAD)
    if noise is None:
        return Scores(curve, None, None, noises)
    around = np.random.default_rng(seed + _DRAWN).standard_normal((len(noises), len(scores)))
    drawn = curve(losses) + noises[:, None] * around
    many, _ = _minimize(np.tile(best, (len(drawn), 1)), losses, drawn, chance)
    return Scores(curve, noise, Curve(chance, *many.T), noises)


def _minimize(starts: Floats, losses: Floats, scores: Floats, chance: float) -> tuple[Floats, Floats]:
    """Returns top, middle and steepness from each start, shape [S, 3], and their loss; scores: [S, n], or one row."""
    spread = float(np.ptp(losses))
    low = np.array([min(chance + 1e-3, 1.0), losses.min() - 3 * spread, 0.0])
    high = np.array([1.0, losses.max() + 3 * spread, 100 / spread])

    def residuals(at: Floats, numbers: Numbers) -> tuple[Floats, Floats]:
        top, middle, steepness = (at[:, [place]] for place in range(3))
        share = _logistic(steepness * (middle - losses))
        bent = (top - chance) * share * (1 - share)
        slopes = np.stack([share, bent * steepness, bent * (middle - losses)], axis=-1)
        return chance + (top - chance) * share - scores[numbers % len(scores)], slopes

    return minimize(starts, residuals, _NEVER, low, high)


def _logistic(x: Floats) -> Floats:
    halves: Floats = (1 + np.tanh(x / 2)) / 2
    return halves
