"""Describes what a cache does: attention writes keys and values to it, and reads those of earlier tokens from it.

A cache holds B sequences. It is a pytree with separate arrays for each layer, so that a program to which one is donated
updates them in place.
"""

from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp


class Places(NamedTuple):
    """Holds the position and the sequence of each token of R rows; the T tokens of a row belong to one sequence.

    Flat rows are those of one token. Several rows may belong to the same sequence, and positions may have gaps.
    """

    positions: jax.Array
    """The positions, int32 [R, T]; those of a sequence are distinct."""
    sequences: jax.Array | None = None
    """The number of each row's sequence in the cache, int32 [R]; None if row r belongs to sequence r, and R is B."""

    @property
    def rows(self) -> jax.Array:
        """The number of each row's sequence, int32 [R]."""
        return jnp.arange(len(self.positions)) if self.sequences is None else self.sequences

    def of(self, array: jax.Array) -> jax.Array:
        """Returns the entries of `array` [B, …] for the sequence of each row, [R, …]."""
        return array if self.sequences is None else array[self.sequences]


class Seen(NamedTuple):
    """Holds the keys and values that the queries of each row may see, and their positions."""

    keys: jax.Array
    """The keys, [R, K, S, Q], rotated if the model's positions rotate."""
    values: jax.Array
    """The values, [R, K, S, Q]."""
    positions: jax.Array
    """The positions, int32 [R, S]; an empty slot has a position after every query."""


class Cache(Protocol):
    """Stores the keys and values of the tokens of several sequences."""

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> Self:
        """Returns the cache with a layer's keys and values [R, T, K, Q] of the tokens at `places`."""

    def read(self, layer: int, places: Places) -> Seen:
        """Returns a layer's keys and values for the rows of `places`, including those just written."""


def replaced(arrays: tuple[jax.Array, ...], layer: int, array: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the layers' arrays with that of one layer replaced."""
    return (*arrays[:layer], array, *arrays[layer + 1 :])


def zeros(layers: int, shape: tuple[int, ...], dtype: str) -> tuple[jax.Array, ...]:
    """Returns an array of zeros for each layer."""
    return tuple(jnp.zeros(shape, dtype) for _ in range(layers))
