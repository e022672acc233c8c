"""Finds scores that larger models reach and smaller ones do not point to (PaLM, arXiv 2204.02311, section 6.2.1).

PaLM extends the line through the scores of its 8B and 62B models to 540B, and calls what lies above it a discontinuity.
Its sizes are evenly spaced; here the line is linear in the logarithm of the size.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from palmetto.errors import UserError


class Scored(NamedTuple):
    """Holds a model's size in parameters and its score, with the score's standard error."""

    size: float
    score: float
    error: float


class Discontinuity(NamedTuple):
    """Holds what two smaller models make one expect of a larger one, and how much higher its score is."""

    size: float
    projected: float
    difference: float
    """The score minus the projected one."""
    error: float
    """The standard error of the difference, if the errors of the three scores are independent."""


def discontinuities(models: Sequence[Scored]) -> list[Discontinuity]:
    """Returns the discontinuity of each model from the third smallest on, projected from the two sizes before it.

    Raises UserError if there are fewer than three sizes, or two models of one.
    """
    ordered = sorted(models)
    sizes = [model.size for model in ordered]
    if len(sizes) < 3:
        raise UserError(f"{len(sizes)} sizes; expected at least 3, two of which are extended to the next")
    for size, larger in itertools.pairwise(sizes):
        if size == larger:
            raise UserError(f"two models have {size:,.0f} parameters; expected one of each size")
    return [_project(*three) for three in zip(ordered, ordered[1:], ordered[2:], strict=False)]


def _project(small: Scored, middle: Scored, large: Scored) -> Discontinuity:
    reach = math.log(large.size / middle.size) / math.log(middle.size / small.size)
    projected = middle.score + reach * (middle.score - small.score)
    error = math.hypot(large.error, (1 + reach) * middle.error, reach * small.error)
    return Discontinuity(large.size, projected, large.score - projected, error)
