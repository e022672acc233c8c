"""Finds the parameters and tokens with which a budget of compute gives the lowest loss."""

from typing import NamedTuple

import numpy as np

from palmetto.scaling.laws import Law
from palmetto.scaling.minimizing import Floats

FLOPS = 6.0
"""The FLOPs of a parameter and token in training, for which C = 6·N·D."""


class Optimum(NamedTuple):
    """Holds the best division of a budget; of many laws, the arrays of their divisions."""

    parameters: Floats
    tokens: Floats
    loss: Floats


def optimum(law: Law, flops: float) -> Optimum:
    """Returns the division of `flops` with the lowest loss by a law of parameters and tokens.

    It is N = G·(C/6)^(β/(α+β)) and D = (C/6)/N with G = (α·A/(β·B))^(1/(α+β)) (Chinchilla, arXiv 2203.15556,
    equation 4), with at least one parameter and one token.
    """
    (A, B), (alpha, beta) = (law.coefficients[..., i] for i in (0, 1)), (law.exponents[..., i] for i in (0, 1))
    product = np.log(flops / FLOPS)
    best = (np.log(alpha * A / (beta * B)) + beta * product) / (alpha + beta)
    parameters = np.exp(np.clip(best, 0, product))
    tokens = np.exp(product) / parameters
    return Optimum(parameters, tokens, law.constant + A * parameters**-alpha + B * tokens**-beta)
