"""What stands between attention and the keys and values of earlier tokens, wherever these lie.

Tokens come as [B, T], a row for each sequence, each token with its position. A cache is a pytree whose arrays belong to
one layer each, so that a program that is given one updates them in place.
"""

from typing import NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp


class Seen(NamedTuple):
    """Keys and values that queries may see, and where they stand."""

    keys: jax.Array
    """[B, K, S, Q], turned by their positions where the model's positions do that."""
    values: jax.Array
    """[B, K, S, Q]"""
    positions: jax.Array
    """[B, S] of int32; where no token is yet, one that lies ahead of every query."""


class Cache(Protocol):
    """Keys and values of the tokens of some sequences."""

    @property
    def length(self) -> jax.Array:
        """Tokens of each sequence, [B] of int32: the position of its next one."""

    def advance(self, count: int) -> Self:
        """Returns the cache with room taken for `count` more tokens of each sequence, which `write` fills."""

    def write(self, layer: int, keys: jax.Array, values: jax.Array, positions: jax.Array) -> Self:
        """Returns the cache with a layer's keys and values [B, T, K, Q] of the tokens at positions [B, T]."""

    def read(self, layer: int) -> Seen:
        """Returns a layer's keys and values, those among them that have just been written."""


def put(array: jax.Array, new: jax.Array, slots: jax.Array) -> jax.Array:
    """Returns [B, K, S, Q] with new [B, T, K, Q] in each sequence's slots [B, T], no two of them the same."""

    def one(array: jax.Array, new: jax.Array, slots: jax.Array) -> jax.Array:
        return array.at[:, slots].set(new.swapaxes(0, 1), unique_indices=True)

    return jax.vmap(one)(array, new, slots)


def zeros(layers: int, shape: tuple[int, ...], dtype: str) -> tuple[jax.Array, ...]:
    """Returns an array for each layer."""
    return tuple(jnp.zeros(shape, dtype) for _ in range(layers))
