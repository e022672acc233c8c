"""Keeps the keys and values of each sequence in a row of its own, for sequences that are all of the same length.

Where devices divide the rows, each has what its attention reads; blocks may lie on any of them. Plans for many chips
decode with it (planning/inference).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places, Seen


class ContiguousCache(NamedTuple):
    """Stores B sequences of up to S positions in L layers, which one array holds, so that a loop can go through them.

    Tokens written together are at the same positions of every sequence. Layers are written one after the other, each
    once in a step; in a loop, all layers of a kind have the same number.
    """

    keys: jax.Array
    """The keys, [L, B, K, S, Q]."""
    values: jax.Array
    """The values, like the keys."""
    written: jax.Array
    """The number of layers that this step has written, int32."""

    def next_step(self) -> "ContiguousCache":
        """Returns the cache, ready for the first layer of another step."""
        return self._replace(written=jnp.zeros_like(self.written))

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> "ContiguousCache":
        def put(array: jax.Array, new: jax.Array) -> jax.Array:
            start = (self.written, 0, 0, places.positions[0, 0], 0)
            return jax.lax.dynamic_update_slice(array, new.swapaxes(1, 2)[None], start)

        return ContiguousCache(put(self.keys, keys), put(self.values, values), self.written + 1)

    def read(self, layer: int, places: Places) -> Seen:
        keys, values = (
            jax.lax.dynamic_index_in_dim(array, self.written - 1, keepdims=False) for array in (self.keys, self.values)
        )
        positions = jnp.broadcast_to(jnp.arange(keys.shape[2]), (keys.shape[0], keys.shape[2]))
        return Seen(keys, values, positions)
