"""Runs a model on rows of tokens of the sequences in a cache: pieces of prompts, or single tokens."""

from typing import TypeVar

import jax

from palmetto.decoding.caches.cache import Cache, Places
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.parts import attend_by_parts
from palmetto.model.attention import attend, by_group
from palmetto.model.decoder import Forward, logits
from palmetto.model.layout import Arranged, Layer, Stacked
from palmetto.model.scores import Learned, make_scores
from palmetto.model.tuning import ACCELERATOR, Tuning
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Attention

DECODING = ACCELERATOR._replace(unroll=True)
"""The tuning with which weights are arranged for decoding: each layer has separate arrays, like its cache."""

Kind = TypeVar("Kind", bound=Cache)


def streams(model: Model) -> bool:
    """Returns whether a cache of fixed size suffices for sequences of any length.

    That requires that every layer sees only the first positions and a window, and that only distances matter.
    """
    in_every_layer = model.attention.period(model.layers) == 1
    return model.attention.kept is not None and in_every_layer and model.positions.without_end


def by_parts(model: Model, attention: Attention) -> bool:
    """Returns whether this attention of a paged cache is computed part by part, which needs scores of any positions."""
    return not attention.searches and not model.positions.in_a_row


def extend(
    arranged: Arranged,
    tokens: jax.Array,
    places: Places,
    cache: Kind,
    model: Model,
    prefix: jax.Array | None = None,
    *,
    learned: tuple[Learned, ...] | None = None,
    tuning: Tuning = ACCELERATOR,
) -> tuple[jax.Array, Kind]:
    """Returns the float32 logits [R, T, V] of tokens [R, T] at `places`, and the cache with them.

    A token sees those at earlier positions of its sequence, in the cache or among `tokens`, and itself.
    arranged: the weights as arranged for DECODING.
    prefix: the number [R] of first positions of each row's sequence that see each other.
    learned: the arrays of `for_scores` of each layer; None to compute them, for as many positions as the cache shows.
    tuning: with `native`, kernels of `native` compute all products with weights.
    The positions must fit the cache. Experts are dropless, so that a token's result does not depend on how many are run
    together.
    """
    assert not isinstance(arranged.layers, Stacked)
    positions = places.positions

    def attend_cached(
        number: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, cache: Kind
    ) -> tuple[jax.Array, Kind]:
        attention = model.attention_of(number)
        cache = cache.write(number, k, v, places)
        grouped = by_group(q, model.key_value_heads)
        if isinstance(cache, PagedCache) and by_parts(model, attention):
            result = attend_by_parts(make_scores(layer, model, attention, 0, prefix), grouped, number, cache, places)
        else:
            keys, values, seen = cache.read(number, places)
            if attention.searches:
                rows = positions.shape[1]
                result = attention.search(grouped, keys, values, positions, seen, model.positions, rows)
            else:
                scores = make_scores(layer, model, attention, keys.shape[2], prefix)
                if learned is not None:
                    scores = scores._replace(learned=learned[number])
                result = attend(scores, grouped, keys, values, positions, seen)
        return result.swapaxes(1, 2).reshape(q.shape), cache

    forward = Forward(_without_capacity(model), tuning, rematerialize=None)
    x = forward.begin(arranged, tokens, positions)
    x, _, cache = forward.through(arranged.layers, x, positions, attend_cached, cache)
    states = forward.end(arranged, x)
    scores = logits(arranged.unembedding, states.reshape(-1, states.shape[-1]), tuning.native)
    return scores.reshape(*states.shape[:-1], -1), cache


def _without_capacity(model: Model) -> Model:
    if model.experts is None:
        return model
    return model.model_copy(update={"experts": model.experts.model_copy(update={"capacity_factor": None})})
