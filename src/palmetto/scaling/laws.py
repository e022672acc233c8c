"""Fits how the loss falls with compute, or with parameters and tokens.

Both laws are a constant and a power of each variable: a·C^b + c (GPT-4, arXiv 2303.08774, section 3) and
E + A/N^α + B/D^β (Chinchilla, arXiv 2203.15556, approach 3). As there, the fit minimizes Huber's loss of the difference
of logarithms. For given exponents the other constants are found first, for a grid of exponents (variable projection);
from each of these starts all constants are then fitted together, and the best end counts. The published fit had stopped
before its minimum (arXiv 2404.10102).
"""

import itertools
from functools import partial
from typing import NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.scaling.minimizing import Floats, Numbers, minimize

_BEND = 1e-3
"""The difference of logarithms from which Huber's loss is straight, as in Chinchilla."""
_GRID = np.geomspace(0.05, 1.6, 10)
"""The exponents that the fit starts from."""
_RANGE = (1e-3, 4.0)
"""The bounds of an exponent."""
_LEAST = 1e-9
"""The least constant or term, relative to the mean loss; the logarithm of 0 is nowhere."""


class Law(NamedTuple):
    """Holds a law L(x) = constant + Σ coefficient · x^−exponent, with a term for each of K variables.

    A law may also be many laws at once; then its arrays have a leading axis.
    """

    constant: Floats
    coefficients: Floats
    """The last axis is [K]."""
    exponents: Floats
    """The last axis is [K]."""

    def __call__(self, x: Floats) -> Floats:
        """Returns the loss at variables of shape [..., K]; many laws take one point each, or all the same."""
        losses: Floats = self.constant + (self.coefficients * x**-self.exponents).sum(-1)
        return losses


def check(x: Floats, name: str) -> None:
    """Raises UserError that says what is missing if runs at `x`, shape [n, K], cannot determine the law `name`."""
    n, K = x.shape
    if n < (needed := 1 + 2 * K):
        raise UserError(f"{name}: {n} runs, and the law has {needed} constants; expected at least {needed} runs")
    for column in x.T:
        if len(np.unique(column)) < 3:
            raise UserError(f"{name}: expected at least 3 different values of each variable")
    logs = np.log(x) - np.log(x).mean(0)
    if np.linalg.matrix_rank(logs, tol=1e-6) < K:
        raise UserError(
            f"{name}: the variables rise together, so that their terms cannot be told apart; expected runs with "
            "different numbers of tokens per parameter"
        )


def fit(x: Floats, losses: Floats) -> Law:
    """Returns the law that fits runs best: variables of shape [n, K], losses of shape [n]. `check` must have passed."""
    K = x.shape[1]
    exponents = np.array(list(itertools.product(_GRID, repeat=K)))
    level = float(np.log(losses.mean()))
    starts = np.concatenate([np.full((len(exponents), 1 + K), level - np.log(1 + K)), exponents], axis=1)
    held = np.concatenate([np.ones(1 + K), np.zeros(K)])
    projected, _ = _minimize(starts, x, losses[None], held)
    found, reached = _minimize(projected, x, losses[None])
    return _law(found[reached.argmin()], x)


def refit(law: Law, x: Floats, losses: Floats) -> Law:
    """Returns as many laws as there are rows of losses, shape [S, n]: the best fit to each row, searched from `law`."""
    logs = _center(x)
    terms = np.log(law.coefficients) - law.exponents * logs
    start = np.concatenate([[np.log(law.constant)], terms, law.exponents])
    found, _ = _minimize(np.broadcast_to(start, (len(losses), len(start))), x, losses)
    return _law(found, x)


def _minimize(starts: Floats, x: Floats, losses: Floats, free: Floats | float = 1.0) -> tuple[Floats, Floats]:
    """Returns parameters [S, 1 + 2K] and their loss: logarithms of the constant and of the terms at the runs' centre,
    then exponents. free: 0 for a parameter that is held at its start."""
    K = x.shape[1]
    level = float(np.log(losses.mean()))
    low = np.array([level + np.log(_LEAST)] * (1 + K) + [_RANGE[0]] * K)
    high = np.array([level + 10.0] * (1 + K) + [_RANGE[1]] * K)
    residuals = partial(_residuals, distances=np.log(x) - _center(x), logs=np.log(losses), free=free)
    return minimize(starts, residuals, _BEND, low, high)


def _residuals(
    parameters: Floats, starts: Numbers, distances: Floats, logs: Floats, free: Floats | float
) -> tuple[Floats, Floats]:
    K = distances.shape[1]
    constant = np.exp(parameters[:, None, :1])
    terms = np.exp(parameters[:, None, 1 : 1 + K] - parameters[:, None, 1 + K :] * distances)
    total = constant + terms.sum(-1, keepdims=True)
    slopes = np.concatenate([np.broadcast_to(constant, total.shape), terms, -distances * terms], axis=-1) / total
    return np.log(total[..., 0]) - logs[starts % len(logs)], slopes * free


def _center(x: Floats) -> Floats:
    """Returns the mean logarithm of each variable, around which the constants depend least on each other."""
    centre: Floats = np.log(x).mean(0)
    return centre


def _law(parameters: Floats, x: Floats) -> Law:
    K = x.shape[1]
    exponents = parameters[..., 1 + K :]
    coefficients = np.exp(parameters[..., 1 : 1 + K] + exponents * _center(x))
    return Law(np.exp(parameters[..., 0]), coefficients, exponents)
