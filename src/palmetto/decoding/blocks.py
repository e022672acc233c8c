"""Lends the blocks of the paged cache, counts who holds each, and remembers what full blocks contain.

A block that nobody holds any more, but whose content is known, stays cached until its memory is needed; the block that
was released first goes first. Block 0 is scratch and never lent.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable

SCRATCH = 0
"""The block to which unused rows write; in a sequence's list of blocks it stands for one that it no longer holds."""


class Blocks:
    """Holds the state of blocks 1 to `count`: free, held by one or more sequences, or cached."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count, 0, -1))
        self._holders: dict[int, int] = {}
        self._content: dict[int, bytes] = {}
        self._known: dict[bytes, int] = {}
        self._cached: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> int:
        """The number of blocks that are neither held nor cached."""
        return len(self._free)

    @property
    def cached(self) -> int:
        """The number of blocks that are kept for their content only."""
        return len(self._cached)

    @property
    def available(self) -> int:
        """The number of blocks that `take` can lend."""
        return len(self._free) + len(self._cached)

    def take(self) -> int | None:
        """Returns a block for one holder, with any content; None if all are held."""
        if self._free:
            block = self._free.pop()
        elif self._cached:
            block, _ = self._cached.popitem(last=False)
            del self._known[self._content.pop(block)]
        else:
            return None
        self._holders[block] = 1
        return block

    def share(self, block: int) -> None:
        """Adds a holder to a block that is held or cached."""
        self._cached.pop(block, None)
        self._holders[block] = self._holders.get(block, 0) + 1

    def release(self, block: int) -> bool:
        """Takes a holder from a block; returns whether it was the last."""
        self._holders[block] -= 1
        if self._holders[block]:
            return False
        del self._holders[block]
        if block in self._content:
            self._cached[block] = None
        else:
            self._free.append(block)
        return True

    def writable(self, block: int) -> bool:
        """Returns whether the block has one holder and is not yet full."""
        return self._holders[block] == 1 and block not in self._content

    def know(self, block: int, content: bytes) -> None:
        """Notes the digest of what a held, full block contains, unless another block is known to contain the same."""
        assert block in self._holders, "somebody has just filled it"
        if content not in self._known and block not in self._content:
            self._known[content], self._content[block] = block, content

    def find(self, content: bytes) -> int | None:
        """Returns a block that contains this; the caller may `share` it."""
        return self._known.get(content)

    def is_cached(self, block: int) -> bool:
        """Returns whether nobody holds the block, so that sharing it leaves one fewer to take."""
        return block in self._cached

    def check(self, held: Iterable[int]) -> None:
        """Asserts that every block is in one state and that `held`, one entry for each holder, is who holds them."""
        assert Counter(held) == Counter(self._holders), "every holder is counted"
        everywhere = [*self._free, *self._holders, *self._cached]
        assert sorted(everywhere) == list(range(1, self.count + 1)), "no block is lost or in two states"
        assert {content: block for block, content in self._content.items()} == self._known
        assert self._cached.keys() <= self._content.keys() <= self._cached.keys() | self._holders.keys()
