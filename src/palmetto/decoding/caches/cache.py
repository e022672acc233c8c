"""The interface of caches: attention reads the keys and values of earlier tokens through it.

Tokens are [B, T], a row for each sequence, each with its position. A cache is a pytree with separate arrays for each
layer, so that a program to which one is donated updates them in place.
"""

from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp


class Seen(NamedTuple):
    """Holds the keys and values that queries may see, and their positions."""

    keys: jax.Array
    """The keys, [B, K, S, Q], rotated if the model's positions rotate."""
    values: jax.Array
    """The values, [B, K, S, Q]."""
    positions: jax.Array
    """The positions, int32 [B, S]; an empty slot has a position after every query."""


class Cache(Protocol):
    """Stores the keys and values of the tokens of several sequences."""

    @property
    def length(self) -> jax.Array:
        """The number of tokens of each sequence, int32 [B], which is the position of its next token."""

    def advance(self, count: int) -> Self:
        """Returns the cache with `count` more tokens reserved for each sequence, which `write` fills."""

    def write(self, layer: int, keys: jax.Array, values: jax.Array, positions: jax.Array) -> Self:
        """Returns the cache with a layer's keys and values [B, T, K, Q] of the tokens at positions [B, T]."""

    def read(self, layer: int) -> Seen:
        """Returns a layer's keys and values, including those just written."""


def put(array: jax.Array, new: jax.Array, slots: jax.Array) -> jax.Array:
    """Returns `array` [B, K, S, Q] with `new` [B, T, K, Q] written to distinct slots [B, T] of each sequence."""

    def one(array: jax.Array, new: jax.Array, slots: jax.Array) -> jax.Array:
        return array.at[:, slots].set(new.swapaxes(0, 1), unique_indices=True)

    return jax.vmap(one)(array, new, slots)


def zeros(layers: int, shape: tuple[int, ...], dtype: str) -> tuple[jax.Array, ...]:
    """Returns an array of zeros for each layer."""
    return tuple(jnp.zeros(shape, dtype) for _ in range(layers))
