"""A cache that stores all positions of each sequence in order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Seen, put, zeros


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

    def advance(self, count: int) -> "ContiguousCache":
        return self._replace(length=self.length + count)

    def write(self, layer: int, keys: jax.Array, values: jax.Array, positions: jax.Array) -> "ContiguousCache":
        return self._replace(
            keys=(*self.keys[:layer], put(self.keys[layer], keys, positions), *self.keys[layer + 1 :]),
            values=(*self.values[:layer], put(self.values[layer], values, positions), *self.values[layer + 1 :]),
        )

    def read(self, layer: int) -> Seen:
        batch, _, size, _ = self.keys[layer].shape
        return Seen(self.keys[layer], self.values[layer], jnp.broadcast_to(jnp.arange(size), (batch, size)))
