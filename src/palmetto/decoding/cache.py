"""The key/value cache: one head of keys and values a layer, since PaLM's attention is multi-query."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.attention import attend
from palmetto.model.block import parallel_block
from palmetto.model.decoder import embed, final_norm, logits
from palmetto.model.layout import Arranged, Block
from palmetto.model.positions import rotary_angles
from palmetto.recipe import Model


class Cache(NamedTuple):
    """Rotated keys and values of the positions seen so far, in the activation type."""

    keys: jax.Array
    """[L, B, S, Q], zero from `length` on."""
    values: jax.Array
    """[L, B, S, Q]"""
    length: jax.Array
    """Positions filled, an int32 scalar."""


def empty(model: Model, batch: int, size: int) -> Cache:
    """A cache for up to `size` positions."""
    shape = (model.layers, batch, size, model.query_size)
    return Cache(jnp.zeros(shape, model.activations), jnp.zeros(shape, model.activations), jnp.int32(0))


def extend(arranged: Arranged, tokens: jax.Array, cache: Cache, model: Model) -> tuple[jax.Array, Cache]:
    """Runs tokens [B, T] behind the cached positions: float32 logits [B, T, V] and the cache with them in it.

    The same for a whole prompt and for one token at a time. T more positions must fit the cache.
    """
    rows = tokens.shape[1]
    positions = cache.length + jnp.arange(rows)
    angles = rotary_angles(positions, model.query_size)
    visible = jnp.arange(cache.keys.shape[2])[None, :] <= positions[:, None]

    def apply(x: jax.Array, layer: tuple[Block, jax.Array, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        block, keys, values = layer
        grown = (keys, values)

        def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            nonlocal grown
            grown = (
                jax.lax.dynamic_update_slice_in_dim(keys, k, cache.length, axis=1),
                jax.lax.dynamic_update_slice_in_dim(values, v, cache.length, axis=1),
            )
            return attend(q, *grown, visible)

        return parallel_block(block, x, angles, model, attention), grown

    assert isinstance(arranged.blocks, Block), "decoding runs over stacked layers on every platform"
    x, (keys, values) = jax.lax.scan(apply, embed(arranged, tokens, model), (arranged.blocks, cache.keys, cache.values))
    return logits(arranged.embedding, final_norm(arranged, x)), Cache(keys, values, cache.length + rows)
