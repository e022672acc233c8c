"""A cache of all positions of each sequence, in their order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Seen, put, zeros


class ContiguousCache(NamedTuple):
    """A cache whose slot s holds position s."""

    keys: tuple[jax.Array, ...]
    """Of each layer [B, K, S, Q], zero where no token is yet."""
    values: tuple[jax.Array, ...]
    length: jax.Array
    """Tokens of each sequence, [B] of int32."""

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], dtype: str) -> "ContiguousCache":
        """Returns a cache with arrays of this shape, [B, K, S, Q], for up to S positions."""
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
