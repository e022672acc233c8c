"""Runs a model on rows of tokens of the sequences in a cache: whole prompts, pieces of them, or one token at a time."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Cache, Places
from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.caches.windowed import WindowedCache
from palmetto.decoding.parts import attend_by_parts
from palmetto.model.attention import attend, by_group
from palmetto.model.decoder import Forward, logits
from palmetto.model.layout import Arranged, Layer, Stacked
from palmetto.model.scores import Learned, make_scores
from palmetto.model.tuning import ACCELERATOR, Tuning
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model

STREAMED = 64
"""The largest number of tokens that the cache of a Λ-shaped window takes at a time."""

SCORED = 1 << 22
"""The largest number of query–key pairs that a head scores at a time, so that memory is not quadratic in the prompt."""

DECODING = ACCELERATOR._replace(unroll=True)
"""The tuning for decoding: each layer has separate arrays, like its cache. For one token at a time, the settings of
accelerators are suitable for a CPU as well."""

Kind = TypeVar("Kind", bound=Cache)


def streams(model: Model) -> bool:
    """Returns whether a cache of fixed size suffices for sequences of any length.

    That requires that every layer sees only the first positions and a window, and that only distances matter.
    """
    in_every_layer = model.attention.period(model.layers) == 1
    return model.attention.kept is not None and in_every_layer and model.positions.without_end


def empty(model: Model, batch: int, size: int, sharding: Sharding | None = None) -> ContiguousCache | WindowedCache:
    """Returns an empty cache for up to `size` positions, or for any number if the model streams.

    It is on one device, or divided over the devices of `sharding`: by heads along model, by sequences along data.
    """
    kept, heads, dtype = model.attention.kept, model.key_value_heads, model.activations
    cache: ContiguousCache | WindowedCache
    if kept and streams(model):
        size = min(size, kept.first + kept.last + STREAMED)
        shape = (batch, heads, size, model.query_size)
        cache = WindowedCache.empty(model.layers, shape, dtype, kept)
    else:
        cache = ContiguousCache.empty(model.layers, (batch, heads, size, model.query_size), dtype)
    if sharding is None:
        return cache
    there, everywhere = sharding.place(sharding.cache), sharding.place()
    placed: ContiguousCache | WindowedCache = jax.tree.map(
        lambda array: jax.device_put(array, there if array.ndim == 4 else everywhere), cache
    )
    return placed


def following(cache: ContiguousCache | WindowedCache, count: int) -> Places:
    """Returns the places of `count` tokens that follow those of each sequence in a cache, as one row a sequence."""
    return Places(cache.length[:, None] + jnp.arange(count))


def extend(
    arranged: Arranged,
    tokens: jax.Array,
    places: Places,
    cache: Kind,
    model: Model,
    prefix: jax.Array | None = None,
    last: int | None = None,
    *,
    learned: tuple[Learned, ...] | None = None,
    tuning: Tuning = ACCELERATOR,
) -> tuple[jax.Array, Kind]:
    """Returns the float32 logits [R, T, V] of tokens [R, T] at `places`, and the cache with them.

    A token sees those at earlier positions of its sequence, in the cache or among `tokens`, and itself.
    arranged: the weights as arranged for DECODING. last: return the logits of this many last tokens of a row only.
    prefix: the number [R] of first positions of each row's sequence that see each other.
    learned: the arrays of `for_scores` of each layer; None to compute them, for as many positions as the cache shows.
    tuning: with `native`, kernels of `native` compute all products with weights, of rows of one token.
    The positions must fit the cache; if the model streams, a sequence gets at most STREAMED tokens. Experts are
    dropless, so that a token's result does not depend on how many are run together.
    """
    assert not isinstance(arranged.layers, Stacked)
    positions = places.positions
    cache = cache.reserve(places)

    def attend_cached(
        number: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, cache: Kind
    ) -> tuple[jax.Array, Kind]:
        attention = model.attention_of(number)
        cache = cache.write(number, k, v, places)
        grouped = by_group(q, model.key_value_heads)
        if isinstance(cache, PagedCache) and not attention.searches and not model.positions.in_a_row:
            scores = make_scores(layer, model, attention, 0, prefix)
            return attend_by_parts(scores, grouped, number, cache, places).swapaxes(1, 2).reshape(q.shape), cache
        keys, values, seen = cache.read(number, places)
        if attention.searches:

            def attended(q: jax.Array, queries: jax.Array) -> jax.Array:
                return attention.search(q, keys, values, queries, seen, model.positions, queries.shape[1])
        else:
            scores = make_scores(layer, model, attention, keys.shape[2], prefix)
            if learned is not None:
                scores = scores._replace(learned=learned[number])

            def attended(q: jax.Array, queries: jax.Array) -> jax.Array:
                return attend(scores, q, keys, values, queries, seen)

        result = _by_rows(attended, grouped, positions, max(1, SCORED // keys.shape[2]))
        return result.swapaxes(1, 2).reshape(q.shape), cache

    forward = Forward(_without_capacity(model), tuning, rematerialize=None)
    x = forward.begin(arranged, tokens, positions)
    x, _, cache = forward.through(arranged.layers, x, positions, attend_cached, cache)
    states = forward.end(arranged, x if last is None else x[:, -last:])
    if tuning.native:
        return logits(arranged.unembedding, states[:, 0], native=True)[:, None], cache
    return logits(arranged.unembedding, states), cache


def _by_rows(
    attended: Callable[[jax.Array, jax.Array], jax.Array], q: jax.Array, queries: jax.Array, most: int
) -> jax.Array:
    """Returns attended(q, queries) for q [B, K, T, G, Q] and positions [B, T], at most `most` rows at a time."""
    length = queries.shape[1]
    if length <= most:
        return attended(q, queries)
    whole = length - length % most
    parts = jnp.moveaxis(q[:, :, :whole].reshape(*q.shape[:2], -1, most, *q.shape[3:]), 2, 0)
    rows = jnp.moveaxis(queries[:, :whole].reshape(len(queries), -1, most), 1, 0)
    done = jax.lax.map(lambda part: attended(*part), (parts, rows))
    result = jnp.moveaxis(done, 0, 2).reshape(*q.shape[:2], whole, *q.shape[3:])
    if whole == length:
        return result
    return jnp.concatenate([result, attended(q[:, :, whole:], queries[:, whole:])], axis=2)


def _without_capacity(model: Model) -> Model:
    if model.experts is None:
        return model
    return model.model_copy(update={"experts": model.experts.model_copy(update={"capacity_factor": None})})
