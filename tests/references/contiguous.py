"""The plainest cache, which stores all positions of each sequence in order, for comparisons with the paged one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places, Seen, replaced, zeros
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model


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

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> "ContiguousCache":
        at = places.rows[:, None], slice(None), places.positions
        return ContiguousCache(
            replaced(self.keys, layer, self.keys[layer].at[at].set(keys, unique_indices=True)),
            replaced(self.values, layer, self.values[layer].at[at].set(values, unique_indices=True)),
            self.length.at[places.rows].max(jnp.max(places.positions, axis=1) + 1),
        )

    def read(self, layer: int, places: Places) -> Seen:
        rows, size = len(places.positions), self.keys[layer].shape[2]
        positions = jnp.broadcast_to(jnp.arange(size), (rows, size))
        return Seen(places.of(self.keys[layer]), places.of(self.values[layer]), positions)


def empty(model: Model, batch: int, size: int, sharding: Sharding | None = None) -> ContiguousCache:
    """Returns an empty cache for `size` positions of each sequence, on one device or over those of `sharding`."""
    shape = (batch, model.key_value_heads, size, model.query_size)
    cache = ContiguousCache.empty(model.layers, shape, model.activations)
    if sharding is None:
        return cache
    there, everywhere = sharding.place(sharding.cache), sharding.place()
    placed: ContiguousCache = jax.tree.map(
        lambda array: jax.device_put(array, there if array.ndim == 4 else everywhere), cache
    )
    return placed


def following(cache: ContiguousCache, count: int) -> Places:
    """Returns the places of `count` tokens that follow those of each sequence, as one row a sequence."""
    return Places(cache.length[:, None] + jnp.arange(count))
