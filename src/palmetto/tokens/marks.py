"""Marks of tokens: which are predicted, and where an example begins. A store holds them with the tokens, as one number.

So everything that covers the tokens of a run, its digests, its ledger and its checks, covers the marks too.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MARKS = 2
"""The number of bits that marks take below a token."""
_SCORED, _BEGINS = 1, 2


class Marked(NamedTuple):
    """Holds tokens with their marks, all of one shape."""

    tokens: npt.NDArray[np.int32]
    scored: npt.NDArray[np.bool_]
    """True if the token is predicted."""
    begins: npt.NDArray[np.bool_]
    """True if the token is the first of an example."""


def mark(marked: Marked) -> npt.NDArray[np.int32]:
    """Returns tokens with their marks as numbers, int32; tokens must be below 2^29."""
    numbers: npt.NDArray[np.int32] = (marked.tokens << MARKS) | (_BEGINS * marked.begins) | (_SCORED * marked.scored)
    return numbers.astype(np.int32)


def unmark(numbers: npt.NDArray[np.int32]) -> Marked:
    """Returns the tokens and marks of numbers; the inverse of `mark`."""
    return Marked(numbers >> MARKS, (numbers & _SCORED) != 0, (numbers & _BEGINS) != 0)


def predicted(marked: Marked) -> npt.NDArray[np.int32]:
    """Returns the tokens that are predicted, in one row."""
    return marked.tokens[marked.scored]


def given(marked: Marked) -> npt.NDArray[np.int32]:
    """Returns the tokens of a row before the first that is predicted, of its first example."""
    end = int(np.argmax(marked.scored[1:])) + 1
    return marked.tokens[:end]


def tokens_of(numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Returns the tokens of numbers, in their type."""
    return numbers >> MARKS


def starts_of(begins: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Returns the place of the first token of each token's example, int32 of the shape of `begins`, [..., T].

    The first token begins one, whether it is marked or not.
    """
    places = np.arange(begins.shape[-1], dtype=np.int32)
    return np.maximum.accumulate(np.where(begins, places, 0), axis=-1)
