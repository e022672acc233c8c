"""Computes sums by halves explicitly in NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def halves_sum(array: Array, axis: int) -> Array:
    """Returns the sum that repeatedly adds an axis's first half to its second; odd lengths are padded with a zero."""
    terms = np.moveaxis(array, axis, 0)
    while len(terms) > 1:
        if len(terms) % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[:1])])
        terms = terms[: len(terms) // 2] + terms[len(terms) // 2 :]
    return terms[0]
