"""Ends a generated answer at its stop strings."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.decoding.request import Constraint, Finish
from palmetto.decoding.text import Pieces, TextStream, ended_by
from palmetto.tokens.vocabulary import Vocabulary


class _Until:
    """Allows every token until the text holds one of the stop strings."""

    def __init__(self, stop: Sequence[str], pieces: Pieces) -> None:
        self._text = TextStream(pieces, stop)
        self._all = np.ones(len(pieces.data), bool)

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        return None if self._text.stopped else self._all

    def accept(self, token: int) -> None:
        self._text.add(token)

    @property
    def finish(self) -> Finish:
        return Finish.STOP


class Ends(NamedTuple):
    """Says where an answer ends: with a token that ends it alone, or one with which its text holds a stop string.

    A stop string may lie in several tokens, and a token may hold more than a stop string, in any spelling of a text.
    """

    ids: frozenset[int]
    """The tokens that end it alone: the vocabulary's ends, and those that hold a stop string."""
    constraint: Callable[[], Constraint] | None
    """Makes the constraint for stop strings that may lie in several tokens; None if there are none."""
    ended: Callable[[Sequence[int]], bool] | None
    """Says whether generated ids hold a stop string, for beams, which cannot share a constraint; None without one."""


@lru_cache(maxsize=8)
def until(stop: tuple[str, ...], vocabulary: Vocabulary) -> Ends:
    """Returns where an answer ends that ends at any of these texts."""
    pieces, ends = Pieces(vocabulary), {text: text.encode(errors="surrogatepass") for text in stop}
    holding = (id for id, data in enumerate(pieces.data) if any(end in data for end in ends.values()))
    longer = [text for text, end in ends.items() if len(end) > 1]
    constraint = (lambda: _Until(longer, pieces)) if longer else None
    return Ends(frozenset({*vocabulary.ends, *holding}), constraint, ended_by(stop, pieces))


def up_to_stop(text: str, stop: Sequence[str], *, keep: bool = False) -> str:
    """Returns the text up to the first stop string in it, which is kept if `keep` says so."""
    ends = [(at, at + keep * len(each)) for each in stop if (at := text.find(each)) >= 0]
    return text[: min(ends, default=(0, len(text)))[1]]
