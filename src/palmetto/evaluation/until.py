"""Ends a generated answer at its stop strings."""

from collections.abc import Callable, Sequence
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
    """Says where an answer ends. The last two are None if each stop string is one token."""

    ids: frozenset[int]
    """The tokens that end it, [eod] among them."""
    constraint: Callable[[], Constraint] | None
    """Makes the constraint for longer stop strings."""
    ended: Callable[[Sequence[int]], bool] | None
    """Says whether generated ids hold a longer one: for beams, which cannot share a constraint."""


def until(stop: Sequence[str], vocabulary: Vocabulary) -> Ends:
    """Returns where an answer ends that ends at any of these texts."""
    encoded = {text: vocabulary.encode(text) for text in stop}
    ids = frozenset({vocabulary.eod, *(int(own[0]) for own in encoded.values() if len(own) == 1)})
    longer = [text for text, own in encoded.items() if len(own) > 1]
    if not longer:
        return Ends(ids, None, None)
    pieces = Pieces(vocabulary)
    return Ends(ids, lambda: _Until(longer, pieces), ended_by(longer, pieces))


def up_to_stop(text: str, stop: Sequence[str], *, keep: bool = False) -> str:
    """Returns the text up to the first stop string in it, which is kept if `keep` says so."""
    ends = [(at, at + keep * len(each)) for each in stop if (at := text.find(each)) >= 0]
    return text[: min(ends, default=(0, len(text)))[1]]
