"""Guesses the next tokens of sequences, so that a step can compute several of their positions.

Guesses change how many steps a text takes, never the text: a guess is kept when it is what the request draws anyway.
"""

from collections.abc import Sequence as Several
from typing import Protocol

import numpy as np
import numpy.typing as npt

from palmetto.decoding.runner import Program
from palmetto.decoding.sequences import Sequence

Ids = npt.NDArray[np.int32]


class Draft(Protocol):
    """Guesses tokens."""

    def propose(self, sequences: Several[Sequence], count: int) -> list[Ids]:
        """Returns up to `count` guesses of the tokens that follow each sequence."""

    def programs(self) -> list[Program]:
        """Returns calls that compile what it needs."""


class Lookup:
    """Guesses that what followed the last tokens before follows them again (arXiv 2304.04487)."""

    def __init__(self, tokens: int = 3) -> None:
        """Takes the number of last tokens that must have occurred together."""
        self._tokens = tokens

    def propose(self, sequences: Several[Sequence], count: int) -> list[Ids]:
        return [self._after(sequence.tokens[: sequence.size], count) for sequence in sequences]

    def programs(self) -> list[Program]:
        """Returns nothing, since looking up compiles nothing."""
        return []

    def _after(self, tokens: Ids, count: int) -> Ids:
        """Returns what followed the last place where the last tokens stood before."""
        if len(tokens) <= self._tokens:
            return tokens[:0]
        windows = np.lib.stride_tricks.sliding_window_view(tokens[:-1], self._tokens)
        places = np.flatnonzero(np.all(windows == tokens[-self._tokens :], axis=1))
        if not len(places):
            return tokens[:0]
        start = int(places[-1]) + self._tokens
        return tokens[start : start + count]
