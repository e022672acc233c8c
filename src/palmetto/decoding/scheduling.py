"""Decides which sequences run, which rows of the next step each gets, and which blocks they lie in.

Sequences are served by priority, then in the order in which they came. Decoding comes first, at one row a sequence;
prompts get the other rows, in order. If blocks run out, a sequence takes them from the last one in that order, which
waits and is computed anew. So the first sequence of all always goes on.
"""

import bisect
from typing import NamedTuple

from palmetto.decoding.blocks import SCRATCH, Blocks
from palmetto.decoding.refusal import Refused
from palmetto.decoding.sequences import Sequence
from palmetto.decoding.tables import Tables
from palmetto.recipe.parts import Kept


class Plan(NamedTuple):
    """Says what a step computes."""

    shares: list[tuple[Sequence, int]]
    """The sequences with rows, and how many of their next positions each computes."""
    copies: dict[int, int]
    """The blocks to be written first, and those that are copied there."""


class Scheduler:
    """Holds the sequences that wait and that run, and gives them blocks."""

    def __init__(self, blocks: Blocks, tables: Tables, size: int, rows: int, window: Kept | None) -> None:
        """Takes the size of a block, the most rows of a step, and what is seen if a window is in all layers."""
        self.blocks, self.tables, self.size, self.rows, self._window = blocks, tables, size, rows, window
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self.hits = self.preemptions = 0
        self._shares: dict[Sequence, int] = {}
        self._left = rows
        self._copies: dict[int, int] = {}

    def check_fits(self, prefix: int, length: int, count: int = 1) -> None:
        """Raises Refused if `count` sequences of a request, up to this length, cannot be in the cache at a time."""
        if (needed := count * self.most_blocks(prefix, length)) > self.blocks.count:
            several = f"{count} beams, each of " if count > 1 else ""
            raise Refused(
                "beams" if count > 1 else "tokens",
                f"{several}{length} positions, take {needed} blocks of cache; there are {self.blocks.count}",
            )

    def add(self, sequence: Sequence) -> None:
        """Lets a sequence wait for its turn."""
        bisect.insort(self.waiting, sequence, key=lambda s: s.order)

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence away, with all that it holds."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
        else:
            self._stop(sequence)

    def plan(self) -> Plan:
        """Returns the next step; no sequence has rows if there is nothing to compute."""
        self._shares, self._copies = {}, {}
        self._admit()
        able = [s for s in self.running if not s.held]
        alone = next((s for s in able if s.done < s.request.prefix), None)
        if alone is not None and self._give(alone, alone.request.prefix) == alone.request.prefix:
            return Plan([(alone, alone.request.prefix)], self._copies)
        self._shares, self._left = {}, self.rows
        continued: list[tuple[Sequence, int]] = []
        prompts: list[tuple[Sequence, int]] = []
        for sequence in able:
            if (count := sequence.pending) > 0:
                (continued if count == 1 else prompts).append((sequence, count))
        for sequence, count in continued + prompts:
            if self._left and sequence.slot is not None and sequence.done >= sequence.request.prefix:
                if count > self.size:
                    self._catch_up(sequence)
                    count = sequence.pending
                self._shares[sequence] = 0
                self._shares[sequence] = given = self._give(sequence, min(count, self._left))
                self._left -= given
        return Plan([(s, n) for s, n in self._shares.items() if n], self._copies)

    def draft(self, sequence: Sequence, count: int) -> int:
        """Returns how many of `count` positions after the planned ones have blocks without taking any from others."""
        return self._give(sequence, self._shares[sequence] + count, gently=True) - self._shares[sequence]

    def computed(self, sequence: Sequence, count: int) -> None:
        """Notes that the next `count` positions of a running sequence are in the cache."""
        before, sequence.done = sequence.done, sequence.done + count
        for number in range(before // self.size, sequence.done // self.size):
            self.blocks.know(sequence.blocks[number], sequence.digest(number, self.size))
        if self._window is not None:
            for number in range(self._unseen(before).stop, self._unseen(sequence.done).stop):
                self._drop(sequence, number)

    def fork(self, parent: Sequence, child: Sequence) -> bool:
        """Lets a child that has computed as much run with the parent's blocks; returns False if they are not there."""
        needed = set(range(-(-child.done // self.size))) - set(self._unseen(child.done))
        there = all(number < len(parent.blocks) and parent.blocks[number] != SCRATCH for number in needed)
        if parent.slot is None or not self.tables.room or not there:
            return False
        self._start(child)
        child.blocks = [parent.blocks[i] if i in needed else SCRATCH for i in range(max(needed, default=-1) + 1)]
        for number, block in enumerate(child.blocks):
            if block != SCRATCH:
                self._hold(child, number, block)
        return True

    def check(self) -> None:
        """Asserts that no block is leaked, and that tables hold what sequences do."""
        self.blocks.check(block for sequence in self.running for block in sequence.held_blocks)
        assert not any(sequence.blocks for sequence in self.waiting)
        for sequence in self.running:
            assert sequence.slot is not None
            in_table = self.tables.blocks[sequence.slot]
            assert sorted(in_table[in_table != SCRATCH].tolist()) == sorted(sequence.held_blocks)
            for number, block in enumerate(sequence.blocks):
                assert block in (SCRATCH, in_table[self.tables.entry(number)])
        assert self.tables.room + len(self.running) == self.tables.unused

    def _admit(self) -> None:
        for sequence in [s for s in self.waiting if not s.held]:
            if (parent := sequence.parent) is not None:
                if parent.slot is not None and parent.done < parent.prompt - 1:
                    continue
                sequence.parent, sequence.done = None, parent.prompt - 1
                if sequence.done >= sequence.request.prefix and self.fork(parent, sequence):
                    self.waiting.remove(sequence)
                    continue
                sequence.done = 0
            while not self._fits(sequence):
                if not self._preempt_for(sequence):
                    return
            found = self._find(sequence)
            self.waiting.remove(sequence)
            self._start(sequence)
            sequence.done, sequence.blocks = len(found) * self.size, found
            self.hits += sequence.done
            for number, block in enumerate(found):
                if block != SCRATCH:
                    self._hold(sequence, number, block)

    def _fits(self, sequence: Sequence) -> bool:
        """Returns whether there is a row of tables for a sequence, and blocks for all that is known of it."""
        found = [block for block in self._find(sequence) if block != SCRATCH]
        cached = sum(map(self.blocks.is_cached, found))
        needed = self.most_blocks(sequence.request.prefix, sequence.target) - len(found)
        return bool(self.tables.room) and self.blocks.available - cached >= needed

    def most_blocks(self, prefix: int, length: int) -> int:
        """Returns the most blocks that a sequence up to this length holds at a time."""
        all_blocks = -(-length // self.size)
        if self._window is None:
            return all_blocks
        first, most = -(-self._window.first // self.size), max(self.rows, prefix)
        return min(all_blocks, first + (self._window.last + most) // self.size + 2)

    def _find(self, sequence: Sequence) -> list[int]:
        """Returns the known blocks with the beginning of a sequence, up to the first logits that it needs."""
        found: list[int] = []
        for number in range(sequence.scored // self.size):
            block = self.blocks.find(sequence.digest(number, self.size))
            if block is None:
                break
            found.append(block)
        if len(found) * self.size < sequence.request.prefix:
            return []
        unseen = set(self._unseen(len(found) * self.size))
        return [SCRATCH if number in unseen else block for number, block in enumerate(found)]

    def _catch_up(self, sequence: Sequence) -> None:
        """Gives a sequence the blocks that others have computed since it was admitted, instead of computing the same.

        So prompts that are submitted together share their beginning too.
        """
        if self._window is not None or sequence.done != len(sequence.blocks) * self.size:
            return
        for number in range(len(sequence.blocks), sequence.scored // self.size):
            block = self.blocks.find(sequence.digest(number, self.size))
            if block is None:
                return
            self._hold(sequence, number, block)
            sequence.blocks.append(block)
            sequence.done += self.size
            self.hits += self.size

    def _preempt_for(self, sequence: Sequence) -> bool:
        """Preempts the last sequence that has lower priority, or that waits for its other beams and came later."""
        for last in reversed(self.running):
            waits = last.held and last.order > sequence.order
            if waits or last.request.priority < sequence.request.priority:
                self._preempt(last)
                return True
        return False

    def _preempt(self, sequence: Sequence) -> None:
        self._stop(sequence)
        sequence.done = 0
        self.add(sequence)
        self.preemptions += 1

    def _give(self, sequence: Sequence, count: int, gently: bool = False) -> int:
        """Returns how many of the next `count` positions have blocks to be written to; later sequences give theirs."""
        for number in range(sequence.done // self.size, -(-(sequence.done + count) // self.size)):
            if number < len(sequence.blocks):
                old = sequence.blocks[number]
                if self.blocks.writable(old):
                    continue
                new = self._take(sequence, gently)
                if new is not None:
                    self._copies[new] = old
                    self._release(old)
                    sequence.blocks[number] = new
            elif (new := self._take(sequence, gently)) is not None:
                sequence.blocks.append(new)
            if new is None:
                return max(0, number * self.size - sequence.done)
            assert sequence.slot is not None
            self.tables.put(sequence.slot, number, new)
        return count

    def _take(self, sequence: Sequence, gently: bool) -> int | None:
        while (block := self.blocks.take()) is None:
            last = self.running[-1]
            if gently or last is sequence:
                return None
            self._preempt(last)
        return block

    def _start(self, sequence: Sequence) -> None:
        sequence.slot = self.tables.open()
        bisect.insort(self.running, sequence, key=lambda s: s.order)

    def _hold(self, sequence: Sequence, number: int, block: int) -> None:
        assert sequence.slot is not None
        self.blocks.share(block)
        self.tables.put(sequence.slot, number, block)

    def _stop(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        self.running.remove(sequence)
        self._left += self._shares.pop(sequence, 0)
        for block in reversed(sequence.held_blocks):  # so that ends of texts are forgotten before beginnings
            self._release(block)
        self.tables.close(sequence.slot)
        sequence.slot, sequence.blocks = None, []

    def _drop(self, sequence: Sequence, number: int) -> None:
        assert sequence.slot is not None
        self.tables.drop(sequence.slot, number)
        self._release(sequence.blocks[number])
        sequence.blocks[number] = SCRATCH

    def _release(self, block: int) -> None:
        if self.blocks.release(block):
            self._copies.pop(block, None)

    def _unseen(self, done: int) -> range:
        """Returns the numbers of the blocks that no query from position `done` on sees."""
        if self._window is None:
            return range(0)
        first = -(-self._window.first // self.size)
        return range(first, max(first, (done - self._window.last + 1) // self.size))
