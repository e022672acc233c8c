"""Keeps which block holds which positions of each running sequence, as arrays for the compiled step."""

import numpy as np
import numpy.typing as npt

from palmetto.decoding.blocks import SCRATCH
from palmetto.decoding.caches.paged import NOWHERE

Ids = npt.NDArray[np.int32]


class Tables:
    """Holds a row of entries for each of `slots` running sequences, and one for unused rows, the last.

    Entry i of a row is for block number i of the sequence. With `turns`, the blocks from number `turns[0]` on take
    `turns[1]` entries in turn, so that a row need not grow with the sequence.
    """

    def __init__(self, slots: int, entries: int, size: int, turns: tuple[int, int] | None = None) -> None:
        self.blocks = np.full((slots + 1, entries), SCRATCH, np.int32)
        self.starts = np.full((slots + 1, entries), NOWHERE, np.int32)
        self.starts[slots, 0] = 0  # an unused row sees the scratch block, so that its sums are finite
        self._free = list(range(slots - 1, -1, -1))
        self._size, self._turns = size, turns

    @property
    def unused(self) -> int:
        """The row of unused rows of the step."""
        return len(self.blocks) - 1

    @property
    def room(self) -> int:
        """The number of rows that no sequence has."""
        return len(self._free)

    def open(self) -> int:
        """Returns an empty row for a sequence."""
        return self._free.pop()

    def close(self, slot: int) -> None:
        """Empties a sequence's row."""
        self.blocks[slot], self.starts[slot] = SCRATCH, NOWHERE
        self._free.append(slot)

    def entry(self, number: int) -> int:
        """Returns the entry of block `number` of a sequence."""
        if self._turns is None or number < self._turns[0]:
            return number
        first, turns = self._turns
        return first + (number - first) % turns

    def put(self, slot: int, number: int, block: int) -> None:
        """Notes that `block` holds block `number` of the sequence."""
        entry = self.entry(number)
        self.blocks[slot, entry], self.starts[slot, entry] = block, number * self._size

    def drop(self, slot: int, number: int) -> None:
        """Notes that the sequence no longer holds block `number`."""
        entry = self.entry(number)
        if self.starts[slot, entry] == number * self._size:
            self.blocks[slot, entry], self.starts[slot, entry] = SCRATCH, NOWHERE
