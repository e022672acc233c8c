"""Hashes of any stretches of a text at once, by differences of sums (Karp, Rabin, 1987)."""

import functools

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
_MODULUS = 1 << 64


class Rolling:
    """The sums of values [n], one for each character, each times its place's power of BASE, modulo 2^64."""

    def __init__(self, values: Hashes) -> None:
        powers, self._inverses = _powers(len(values))
        self._sums = np.zeros(len(values) + 1, np.uint64)
        np.cumsum(values * powers[: len(values)], out=self._sums[1:])

    def hash(self, starts: Integers, ends: Integers) -> Hashes:
        """Of each stretch [start, end) its polynomial in BASE: the same wherever the same values stand."""
        return (self._sums[ends] - self._sums[starts]) * self._inverses[starts]


_KEPT = 1 << 20
"""More powers, as for one long text, are made anew: they are not worth the memory."""


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """BASE^i and BASE^-i for i from 0 to `size` at least."""
    return _kept_powers() if size < _KEPT else _make(size + 1)


@functools.cache
def _kept_powers() -> tuple[Hashes, Hashes]:
    return _make(_KEPT)


def _make(size: int) -> tuple[Hashes, Hashes]:
    made = []
    for base in (BASE, pow(BASE, -1, _MODULUS)):
        powers = np.full(size, base, np.uint64)
        powers[0] = 1
        made.append(np.multiply.accumulate(powers, out=powers))
    return made[0], made[1]
