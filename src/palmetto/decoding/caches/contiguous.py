"""A cache that stores all positions of each sequence in order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places, Seen, put, replaced, zeros


class ContiguousCache(NamedTuple):
    """Stores position s of each sequence in slot s."""

    keys: tuple[jax.Array, ...]
    """The keys of each layer, [B, K, S, Q]; empty slots are zero."""
    values: tuple[jax.Array, ...]
    """The values of each layer, like the keys."""
    length: jax.Array
    """The number of tokens of each sequence, int32 [B]."""

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], dtype: str) -> "ContiguousCache":
        """Returns an empty cache for up to S positions; `shape` is [B, K, S, Q]."""
        return cls(zeros(layers, shape, dtype), zeros(layers, shape, dtype), jnp.zeros(shape[0], jnp.int32))

    def reserve(self, places: Places) -> "ContiguousCache":
        return self._replace(length=places.lengthen(self.length))

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> "ContiguousCache":
        return self._replace(
            keys=replaced(self.keys, layer, put(self.keys[layer], keys, places.positions, places)),
            values=replaced(self.values, layer, put(self.values[layer], values, places.positions, places)),
        )

    def read(self, layer: int, places: Places) -> Seen:
        rows, size = len(places.positions), self.keys[layer].shape[2]
        positions = jnp.broadcast_to(jnp.arange(size), (rows, size))
        return Seen(places.of(self.keys[layer]), places.of(self.values[layer]), positions)
