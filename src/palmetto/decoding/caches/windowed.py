"""A cache of fixed size for sequences of any length; it stores the positions that a Λ-shaped window sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places, Seen, put, replaced, zeros
from palmetto.recipe.parts import Kept


class WindowedCache(NamedTuple):
    """Stores a sequence's first positions in the first slots and its last positions cyclically in the others.

    The number of tokens written at a time may not exceed the number of slots minus the number of positions to keep.
    """

    keys: tuple[jax.Array, ...]
    """The keys of each layer, [B, K, S, Q]; empty slots are zero."""
    values: tuple[jax.Array, ...]
    """The values of each layer, like the keys."""
    positions: jax.Array
    """The position in each slot, int32 [B, S]; an empty slot has a position after the last token."""
    length: jax.Array
    """The number of tokens of each sequence, int32 [B]."""
    first: jax.Array
    """The number of first positions that are kept, an int32 scalar."""

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], dtype: str, kept: Kept) -> "WindowedCache":
        """Returns an empty cache with S slots; `shape` is [B, K, S, Q]."""
        positions = jnp.tile(jnp.arange(shape[2]), (shape[0], 1))
        length, first = jnp.zeros(shape[0], jnp.int32), jnp.int32(kept.first)
        return cls(zeros(layers, shape, dtype), zeros(layers, shape, dtype), positions, length, first)

    def reserve(self, places: Places) -> "WindowedCache":
        at = places.rows[:, None], self._slots(places.positions)
        noted = self.positions.at[at].set(places.positions, unique_indices=True)
        return self._replace(positions=noted, length=places.lengthen(self.length))

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> "WindowedCache":
        slots = self._slots(places.positions)
        return self._replace(
            keys=replaced(self.keys, layer, put(self.keys[layer], keys, slots, places)),
            values=replaced(self.values, layer, put(self.values[layer], values, slots, places)),
        )

    def read(self, layer: int, places: Places) -> Seen:
        return Seen(places.of(self.keys[layer]), places.of(self.values[layer]), places.of(self.positions))

    def _slots(self, positions: jax.Array) -> jax.Array:
        size = self.positions.shape[1]
        in_turn = self.first + (positions - self.first) % (size - self.first)
        return jnp.where(positions < size, positions, in_turn)
