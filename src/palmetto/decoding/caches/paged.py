"""Keeps keys and values in blocks, which lie anywhere in memory and which sequences may share.

Which blocks belong to a sequence is decided outside (scheduling); here tables say it. A key stands in a row's sums at a
place that depends on its position alone, so that results do not depend on which blocks hold it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places, Seen, replaced, zeros

NOWHERE = 1 << 30
"""The first position of an entry without a block: after every query."""

PART = 128
"""The number of positions of a part, if a block has no more."""


def part_entries(size: int) -> int:
    """Returns the number of entries of a part, for blocks of `size` positions."""
    return max(1, PART // size)


def part_positions(size: int) -> int:
    """Returns the number of positions of a part, for blocks of `size` positions."""
    return size * part_entries(size)


class PagedCache(NamedTuple):
    """Stores N blocks of S positions; block 0 receives what belongs to no sequence."""

    keys: tuple[jax.Array, ...]
    """The keys of each layer, [N, K, S, Q]."""
    values: tuple[jax.Array, ...]
    """The values of each layer, like the keys."""
    tables: jax.Array
    """The blocks of each sequence, int32 [B, M]."""
    starts: jax.Array
    """The first position of each of these blocks, a multiple of S, int32 [B, M]; NOWHERE for none. M is in whole parts.
    """

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, int, int, int], dtype: str) -> "PagedCache":
        """Returns a cache of N empty blocks, with no sequences; `shape` is [N, K, S, Q]."""
        none = jnp.zeros((0, 0), jnp.int32)
        return cls(zeros(layers, shape, dtype), zeros(layers, shape, dtype), none, none)

    def with_tables(self, tables: jax.Array, starts: jax.Array) -> "PagedCache":
        """Returns the cache with other tables and first positions, [B, M] each."""
        return self._replace(tables=tables, starts=starts)

    def copied(self, source: jax.Array, target: jax.Array) -> "PagedCache":
        """Returns the cache with blocks `source` [n] copied to blocks `target` [n]."""

        def copy(array: jax.Array) -> jax.Array:
            return array.at[target].set(array[source])

        return self._replace(keys=tuple(map(copy, self.keys)), values=tuple(map(copy, self.values)))

    def write(self, layer: int, keys: jax.Array, values: jax.Array, places: Places) -> "PagedCache":
        size = self.keys[layer].shape[2]
        slots = places.positions % size
        here = places.of(self.starts)[:, None] == (places.positions - slots)[..., None]
        blocks = jnp.sum(jnp.where(here, places.of(self.tables)[:, None], 0), axis=-1)
        return self._replace(
            keys=replaced(self.keys, layer, self.keys[layer].at[blocks, :, slots].set(keys)),
            values=replaced(self.values, layer, self.values[layer].at[blocks, :, slots].set(values)),
        )

    def read(self, layer: int, places: Places) -> Seen:
        return self._seen(layer, places.of(self.tables), places.of(self.starts))

    def parts(self, places: Places) -> jax.Array:
        """Returns the number of parts that hold all blocks of the rows' sequences, int32."""
        used = places.of(self.starts) < NOWHERE
        entries = jnp.max(jnp.where(used, 1 + jnp.arange(used.shape[1]), 0))
        return -(-entries // part_entries(self.keys[0].shape[2]))

    def read_part(self, layer: int, places: Places, part: jax.Array) -> Seen:
        """Returns PART positions of what `read` does."""
        count = part_entries(self.keys[layer].shape[2])
        tables, starts = (
            jax.lax.dynamic_slice_in_dim(places.of(array), part * count, count, axis=1)
            for array in (self.tables, self.starts)
        )
        return self._seen(layer, tables, starts)

    def _seen(self, layer: int, tables: jax.Array, starts: jax.Array) -> Seen:
        size = self.keys[layer].shape[2]
        positions = (starts[..., None] + jnp.arange(size)).reshape(len(tables), -1)
        return Seen(_gathered(self.keys[layer], tables), _gathered(self.values[layer], tables), positions)


def _gathered(array: jax.Array, tables: jax.Array) -> jax.Array:
    """Returns the blocks of each row [R, K, M · S, Q], for blocks [N, K, S, Q] and tables [R, M]."""
    blocks = array[tables].swapaxes(1, 2)
    return blocks.reshape(*blocks.shape[:2], -1, blocks.shape[-1])
