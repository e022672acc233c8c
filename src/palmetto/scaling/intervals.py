"""Says how far a law of runs can be trusted, by a parametric bootstrap.

The law is fitted again and again to losses drawn around it with the noise of the runs. That noise is itself known from
few runs, so each draw has its own, by the distribution of a variance with as many degrees of freedom; for a linear law
the intervals are then Student's.
"""

from typing import NamedTuple

import numpy as np

from palmetto.scaling import laws
from palmetto.scaling.laws import Law
from palmetto.scaling.minimizing import Floats

_DRAWS = 1000
_LEAST_FREEDOM = 2
"""The least excess of runs over constants that tells the noise; an excess of 1 leaves it open by a factor of 16."""


class Fit(NamedTuple):
    """Holds the best law of some runs, and laws that these runs might have had as well."""

    law: Law
    noise: float | None
    """The standard deviation of the logarithm of a loss around the law; None with too few runs to tell."""
    laws: Law | None
    """The laws of the draws; None without a noise."""
    noises: Floats
    """The noise of each draw, shape [draws]."""

    def predict(self, x: Floats, seed: int = 0) -> tuple[float, tuple[float, float] | None]:
        """Returns the loss of one run at `x`, shape [K], and the interval that holds it with 95 %."""
        loss = float(self.law(x))
        if self.laws is None:
            return loss, None
        around = np.exp(self.noises * np.random.default_rng(seed).standard_normal(len(self.noises)))
        return loss, interval(self.laws(x) * around)


def interval(values: Floats) -> tuple[float, float]:
    """Returns the bounds of the middle 95 % of draws."""
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def fit(x: Floats, losses: Floats, seed: int = 0) -> Fit:
    """Returns the fit of a law to runs: variables of shape [n, K], losses of shape [n].

    The runs must be able to determine the law (`laws.check`).
    """
    law, n = laws.fit(x, losses), len(losses)
    noise, noises = noises_of(np.log(losses) - np.log(law(x)), 1 + 2 * x.shape[1], seed)
    if noise is None:
        return Fit(law, None, None, noises)
    around = np.random.default_rng(seed + 1).standard_normal((len(noises), n))
    drawn = np.exp(np.log(law(x)) + noises[:, None] * around)
    return Fit(law, noise, laws.refit(law, x, drawn), noises)


def noises_of(residuals: Floats, constants: int, seed: int) -> tuple[float | None, Floats]:
    """Returns the noise of n residuals of a fit with some constants, and that of each draw, shape [draws].

    The noise is None, and there are no draws, with too few runs to tell.
    """
    freedom = len(residuals) - constants
    if freedom < _LEAST_FREEDOM:
        return None, np.empty(0)
    squares = float((residuals**2).sum())
    return float(np.sqrt(squares / freedom)), np.sqrt(squares / np.random.default_rng(seed).chisquare(freedom, _DRAWS))
