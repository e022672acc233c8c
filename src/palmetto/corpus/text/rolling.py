"""Hashes any stretches of a text at once, from differences of prefix sums (Karp, Rabin, 1987)."""

import functools

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

BASE = 0x9E3779B97F4A7C15
"""An odd number, so it has an inverse modulo 2^64."""
_MODULUS = 1 << 64


class Rolling:
    """Prefix sums of values [n], one per character, each times its position's power of BASE, modulo 2^64."""

    def __init__(self, values: Hashes) -> None:
        powers, self._inverses = _powers(len(values))
        self._sums = np.zeros(len(values) + 1, np.uint64)
        np.cumsum(values * powers[: len(values)], out=self._sums[1:])

    def hash(self, starts: Integers, ends: Integers) -> Hashes:
        """Returns the polynomial in BASE of each stretch [start, end); it does not depend on the position."""
        return (self._sums[ends] - self._sums[starts]) * self._inverses[starts]


_KEPT = 1 << 20
"""The number of powers that are cached; longer texts compute their own to save memory."""


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """Returns BASE^i and BASE^-i for i from 0 to at least `size`."""
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
