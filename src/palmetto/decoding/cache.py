"""The key/value cache: K heads of keys and values a layer, of all positions or of those a Λ-shaped window sees."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.attention import attend, by_group
from palmetto.model.block import block
from palmetto.model.decoder import embed, final_norm, logits, through, turning
from palmetto.model.layout import Arranged, Layer
from palmetto.model.memory import memory_attention
from palmetto.model.scores import make_scores
from palmetto.model.tuning import ACCELERATOR
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import AlibiPositions, MemoryAttention, Model, RotaryPositions, SinkAttention

STREAMED = 64
"""The most tokens at a time that a cache of a Λ-shaped window takes."""

SCORED = 1 << 22
"""The most pairs of a query and a key that a head scores at a time, so that a long prompt takes no square of memory."""


class Cache(NamedTuple):
    """Keys, rotated where positions are rotary, and values of the positions seen so far, in the activation type."""

    keys: jax.Array
    """[L, B, K, S, Q], zero where nothing is yet."""
    values: jax.Array
    """[L, B, K, S, Q]"""
    positions: jax.Array
    """[S] of int32: the position that each slot holds or, where nothing is yet, one that lies ahead."""
    length: jax.Array
    """Positions seen, an int32 scalar."""


def streams(model: Model) -> bool:
    """Whether the cache need not grow: every layer sees a few sinks and a window, and no learned distances, which are
    looked up for positions in a row."""
    attention = model.attention
    by_distance = isinstance(model.positions, RotaryPositions | AlibiPositions)
    return isinstance(attention, SinkAttention) and attention.every == 1 and by_distance


def empty(model: Model, batch: int, size: int, sharding: Sharding | None = None) -> Cache:
    """A cache for up to `size` positions; of a model that streams for any number of them. On one device, or divided as
    `sharding` has it: by heads where devices share layers, by sequences where they share a batch."""
    if isinstance(model.attention, SinkAttention) and streams(model):
        size = min(size, model.attention.sinks + model.attention.window + STREAMED)
    shape = (model.layers, batch, model.key_value_heads, size, model.query_size)
    cache = Cache(
        jnp.zeros(shape, model.activations), jnp.zeros(shape, model.activations), jnp.arange(size), jnp.int32(0)
    )
    if sharding is None:
        return cache
    there, everywhere = sharding.place(sharding.cache), sharding.place()
    placed: Cache = jax.device_put(cache, Cache(there, there, everywhere, everywhere))  # type: ignore[arg-type]
    return placed


def extend(
    arranged: Arranged,
    tokens: jax.Array,
    cache: Cache,
    model: Model,
    prefix: jax.Array | None = None,
    last: int | None = None,
) -> tuple[jax.Array, Cache]:
    """Runs tokens [B, T] behind the cached positions: float32 logits [B, T, V] and the cache with them in it.

    `last`: logits of so many last tokens alone.

    The same for a whole prompt and for one token at a time. T more positions must fit the cache; of a model that
    streams T is at most STREAMED. `prefix` [B]: so many first positions see each other. Experts are dropless: what
    becomes of a token must not depend on how many are run together.
    """
    rows, size = tokens.shape[1], cache.keys.shape[3]
    queries = cache.length + jnp.arange(rows)
    slots = queries
    if isinstance(model.attention, SinkAttention) and streams(model):
        sinks = model.attention.sinks
        slots = jnp.where(queries < size, queries, sinks + (queries - sinks) % (size - sinks))
    held = cache.positions.at[slots].set(queries, unique_indices=True)
    angles, dropless = turning(queries, model), _without_capacity(model)

    def apply(kind: int, layer: Layer, x: jax.Array, cached: Any) -> tuple[jax.Array, Any]:
        of, (keys, values) = model.attention_of(kind), cached

        def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            nonlocal keys, values
            keys = keys.at[:, :, slots].set(k.swapaxes(1, 2), unique_indices=True)
            values = values.at[:, :, slots].set(v.swapaxes(1, 2), unique_indices=True)
            grouped = by_group(q, model.key_value_heads)
            if isinstance(of, MemoryAttention):

                def attended(q: jax.Array, queries: jax.Array) -> jax.Array:
                    return memory_attention(q, keys, values, model, of, len(queries), queries)
            else:
                scores = make_scores(layer, model, of, size, prefix)

                def attended(q: jax.Array, queries: jax.Array) -> jax.Array:
                    return attend(scores, q, keys, values, queries, held)

            result = _by_rows(attended, grouped, queries, max(1, SCORED // size))
            return result.swapaxes(1, 2).reshape(q.shape)

        x, _ = block(layer, x, angles, dropless, attention, ACCELERATOR)
        return x, (keys, values)

    x = embed(arranged, tokens, queries, model)
    x, (keys, values) = through(arranged.layers, x, apply, (cache.keys, cache.values))
    states = final_norm(arranged, x if last is None else x[:, -last:], model)
    return logits(arranged.unembedding, states), Cache(keys, values, held, cache.length + rows)


def _by_rows(
    attended: Callable[[jax.Array, jax.Array], jax.Array], q: jax.Array, queries: jax.Array, most: int
) -> jax.Array:
    """`attended` of q [B, K, T, G, Q] and its positions [T], at most so many of them at a time."""
    if len(queries) <= most:
        return attended(q, queries)
    whole = len(queries) - len(queries) % most
    parts = jnp.moveaxis(q[:, :, :whole].reshape(*q.shape[:2], -1, most, *q.shape[3:]), 2, 0)
    done = jax.lax.map(lambda part: attended(*part), (parts, queries[:whole].reshape(-1, most)))
    result = jnp.moveaxis(done, 0, 2).reshape(*q.shape[:2], whole, *q.shape[3:])
    if whole == len(queries):
        return result
    return jnp.concatenate([result, attended(q[:, :, whole:], queries[whole:])], axis=2)


def _without_capacity(model: Model) -> Model:
    if model.experts is None:
        return model
    return model.model_copy(update={"experts": model.experts.model_copy(update={"capacity_factor": None})})
