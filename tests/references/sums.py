"""Sums by halves, written out in NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def halves_sum(array: Array, axis: int) -> Array:
    """The first half of an axis added to the second, and so on; an odd length gets a zero behind it."""
    terms = np.moveaxis(array, axis, 0)
    while len(terms) > 1:
        if len(terms) % 2:
            terms = np.concatenate([terms, np.zeros_like(terms[:1])])
        terms = terms[: len(terms) // 2] + terms[len(terms) // 2 :]
    return terms[0]
