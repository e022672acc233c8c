"""Determines which windows a step trains on, as a pure function of the recipe, the step and the skip list.

The batch ramp gives the number of sequences before a step, the skips add to it, and a keyed permutation of each epoch
turns these positions into window numbers. Nothing is stored, and every step is found equally fast.
"""

import bisect
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from palmetto.errors import RunStopped, UserError

Phases = Sequence[tuple[int, int]]
"""Phases (s, n) of the batch ramp: from step s + 1 on, a step has n sequences. The first s is 0."""
Skips = Sequence[tuple[int, int]]
"""Skips (r, n): after step r, n sequences are skipped."""

_ROUNDS = 8


class Permutation:
    """A pseudorandom bijection of [0, n): a balanced Feistel network on an even number of bits, with cycle walking.

    A step of the walk leaves [0, n) with probability at most 3/4, so at most four steps are needed on average.
    """

    def __init__(self, n: int, key: bytes) -> None:
        if not 0 < n < 1 << 62:
            raise ValueError(f"a permutation of {n} numbers: it takes 1 to 2^62 - 1")
        self.n = n
        self._half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
        self._unused = np.uint64(64) - self._half
        self._mask = np.uint64((1 << int(self._half)) - 1)
        digests = (hashlib.sha256(key + round.to_bytes(4, "little")).digest() for round in range(_ROUNDS))
        self._keys = [np.uint64(int.from_bytes(digest[:8], "little")) for digest in digests]

    def __call__(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the image of each index, int64 of the same shape; raises IndexError outside [0, n)."""
        return self._walk(indices, self._keys)

    def inverse(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns the preimage of each index, int64 of the same shape; raises IndexError outside [0, n)."""
        # With the keys in reverse order, the network undoes its rounds.
        return self._walk(indices, self._keys[::-1])

    def _walk(self, indices: npt.NDArray[np.int64], keys: list[np.uint64]) -> npt.NDArray[np.int64]:
        if indices.size and not 0 <= indices.min() <= indices.max() < self.n:
            raise IndexError(f"indices {indices.min()} to {indices.max()} outside [0, {self.n})")
        values = self._network(indices.astype(np.uint64), keys)
        while (outside := values >= self.n).any():
            values[outside] = self._network(values[outside], keys)
        return values.astype(np.int64)

    def _network(self, values: npt.NDArray[np.uint64], keys: list[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in keys:
            left, right = right, left ^ self._round(right ^ key)
        # Undoing the last swap makes the inverse the same network with the keys in reverse order.
        return (right << self._half) | left

    def _round(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Returns the high bits of splitmix64's finalizer (Stafford's variant 13 of MurmurHash3's)."""
        mixed: npt.NDArray[np.uint64] = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (mixed ^ (mixed >> np.uint64(31))) >> self._unused


class Ramp:
    """The batch size of each step; steps are numbered from 1."""

    def __init__(self, phases: Phases) -> None:
        """Raises UserError unless the phases start at 0 and rise, each with at least one sequence."""
        starts = [start for start, _ in phases]
        if starts[:1] != [0] or any(after <= before for before, after in itertools.pairwise(starts)):
            raise UserError(
                f"training.batch_size: phases start after steps {starts}; expected 0 first, then rising numbers"
            )
        if any(sequences < 1 for _, sequences in phases):
            raise UserError(
                f"training.batch_size: {[n for _, n in phases]} sequences; expected at least 1 in each phase"
            )
        self.phases = tuple(phases)

    def sequences(self, step: int) -> int:
        """Returns the sequences of a step: those of the last phase that starts before it."""
        return self.phases[bisect.bisect_left(self.phases, step, key=lambda phase: phase[0]) - 1][1]

    def sequences_before(self, step: int) -> int:
        """Returns the sequences of steps 1 to `step` - 1 together."""
        ends = [start for start, _ in self.phases[1:]] + [step - 1]
        return sum(max(0, min(end, step - 1) - start) * n for (start, n), end in zip(self.phases, ends, strict=True))


class Order:
    """Assigns windows to steps: every epoch shows each window once, in its own order."""

    def __init__(self, windows: int, phases: Phases, seed: int, epochs: int) -> None:
        self.windows = windows
        self.ramp = Ramp(phases)
        self.epochs = epochs
        self._seed = seed

    def sequence_numbers(self, step: int, skips: Skips = ()) -> npt.NDArray[np.int64]:
        """Returns the windows of a step (from 1), int64 of shape [sequences of the step].

        Raises UserError after the last epoch; RunStopped if the skips are the reason.
        """
        positions = self.positions(step, skips)
        epochs = range(int(positions[0]) // self.windows, int(positions[-1]) // self.windows + 1)
        return np.concatenate([self._epoch(epoch)(self._within(positions, epoch)) for epoch in epochs])

    def positions(self, step: int, skips: Skips = ()) -> npt.NDArray[np.int64]:
        """Returns the positions of the step's sequences among those of all epochs, int64; raises as
        `sequence_numbers` does.
        """
        first, end = self._position(step, skips), self._end(step, skips)
        if end > self.windows * self.epochs:
            raise self._ran_out(step, skips)
        return np.arange(first, end, dtype=np.int64)

    def sequences_before(self, step: int) -> int:
        """Returns the sequences of steps 1 to `step` - 1 together, without skipped ones."""
        return self.ramp.sequences_before(step)

    def steps_that_fit(self, skips: Skips = ()) -> int:
        """Returns the number of complete steps in all epochs."""
        held = self.windows * self.epochs
        return bisect.bisect_right(range(1, held + 1), held, key=lambda step: self._end(step, skips))

    def check(self, steps: int) -> None:
        """Raises UserError if `steps` steps need more than all epochs hold."""
        if not self.steps_that_fit():
            raise UserError(
                f"training.batch_size: the first step takes {self._end(1, ())} sequences, but {self._holding()}: raise "
                "training.epochs, lower training.batch_size, or give more text"
            )
        if steps > self.steps_that_fit():
            raise UserError(
                f"training.steps={steps}: takes {self._end(steps, ())} sequences, but {self._holding()}: at most "
                f"{self.steps_that_fit()} steps fit; lower training.steps, raise training.epochs, or give more text"
            )

    def _position(self, step: int, skips: Skips) -> int:
        return self.ramp.sequences_before(step) + sum(n for after, n in skips if after < step)

    def _end(self, step: int, skips: Skips) -> int:
        return self._position(step, skips) + self.ramp.sequences(step)

    def _epoch(self, epoch: int) -> Permutation:
        return Permutation(self.windows, f"order {self._seed} {epoch}".encode())

    def _within(self, positions: npt.NDArray[np.int64], epoch: int) -> npt.NDArray[np.int64]:
        within: npt.NDArray[np.int64] = positions - epoch * self.windows
        return within[(within >= 0) & (within < self.windows)]

    def _holding(self) -> str:
        return f"training.epochs={self.epochs} over {self.windows} windows holds {self.windows * self.epochs}"

    def _ran_out(self, step: int, skips: Skips) -> UserError:
        skipped = sum(n for after, n in skips if after < step)
        message = (
            f"step {step}: the data has run out: {self._holding()}, less {skipped} skipped, enough for "
            f"{self.steps_that_fit(skips)} steps; lower training.steps or raise training.epochs"
        )
        return RunStopped(message) if step <= self.steps_that_fit() else UserError(f"{message}, or give more text")
