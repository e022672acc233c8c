"""Rows of examples: several side by side in one row of fixed length, and padding at its end."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from palmetto.tokens.marks import Marked, mark

OPEN_ROWS = 64
"""The number of rows that wait for an example that fits."""


def rows_of(
    examples: Iterable[npt.NDArray[np.int32]], length: int, eod: int, open_rows: int = OPEN_ROWS
) -> Iterator[npt.NDArray[np.int32]]:
    """Yields rows of `length` numbers that hold the examples, and at last the one number that ends a store's windows.

    An example joins the first of the open rows that has room for it. If more than `open_rows` are open, the oldest is
    closed; with 0 each example has a row of its own. Each place of padding is an example of its own, so that none sees
    another, and nothing of it is predicted.
    """
    padding = _pad(eod)
    waiting: list[list[npt.NDArray[np.int32]]] = []
    room: list[int] = []

    def closed(place: int) -> npt.NDArray[np.int32]:
        free = room.pop(place)
        return np.concatenate([*waiting.pop(place), np.full(free, padding, np.int32)])

    for example in examples:
        assert len(example) <= length, "an example fits a row"
        place = next((place for place, free in enumerate(room) if free >= len(example)), len(room))
        if place == len(room):
            waiting.append([])
            room.append(length)
        waiting[place].append(example)
        room[place] -= len(example)
        if room[place] == 0:
            yield closed(place)
        elif len(room) > open_rows:
            yield closed(0)
    while room:
        yield closed(0)
    yield np.array([padding], np.int32)


def _pad(eod: int) -> int:
    """Returns the number of a place without an example."""
    one = np.ones(1, bool)
    return int(mark(Marked(np.array([eod], np.int32), ~one, one))[0])
