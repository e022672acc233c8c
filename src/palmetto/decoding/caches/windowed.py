"""A cache of the positions that a Λ-shaped window sees: of fixed size, for sequences of any length."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Seen, put, zeros
from palmetto.recipe.parts import Kept


class WindowedCache(NamedTuple):
    """A cache whose first slots hold a sequence's first positions, and the others its last ones in turn.

    As many tokens at a time may be written as there are more slots than positions to keep.
    """

    keys: tuple[jax.Array, ...]
    """Of each layer [B, K, S, Q], zero where no token is yet."""
    values: tuple[jax.Array, ...]
    positions: jax.Array
    """[B, S] of int32: the position that each slot holds or, where no token is yet, one that lies ahead."""
    length: jax.Array
    """Tokens of each sequence, [B] of int32."""
    first: jax.Array
    """How many first positions are kept, an int32 scalar."""

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], dtype: str, kept: Kept) -> "WindowedCache":
        """Returns a cache with arrays of this shape, [B, K, S, Q]."""
        positions = jnp.tile(jnp.arange(shape[2]), (shape[0], 1))
        length, first = jnp.zeros(shape[0], jnp.int32), jnp.int32(kept.first)
        return cls(zeros(layers, shape, dtype), zeros(layers, shape, dtype), positions, length, first)

    def advance(self, count: int) -> "WindowedCache":
        positions = self.length[:, None] + jnp.arange(count)
        held = jax.vmap(lambda held, slots, new: held.at[slots].set(new, unique_indices=True))
        noted = held(self.positions, self._slots(positions), positions)
        return self._replace(positions=noted, length=self.length + count)

    def write(self, layer: int, keys: jax.Array, values: jax.Array, positions: jax.Array) -> "WindowedCache":
        slots = self._slots(positions)
        return self._replace(
            keys=(*self.keys[:layer], put(self.keys[layer], keys, slots), *self.keys[layer + 1 :]),
            values=(*self.values[:layer], put(self.values[layer], values, slots), *self.values[layer + 1 :]),
        )

    def read(self, layer: int) -> Seen:
        return Seen(self.keys[layer], self.values[layer], self.positions)

    def _slots(self, positions: jax.Array) -> jax.Array:
        size = self.positions.shape[1]
        in_turn = self.first + (positions - self.first) % (size - self.first)
        return jnp.where(positions < size, positions, in_turn)
