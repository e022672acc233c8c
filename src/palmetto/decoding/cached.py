"""Runs a model on rows of tokens of the sequences in a cache: pieces of prompts, or single tokens."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Cache, Places
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.partition import UNDIVIDED, Partition
from palmetto.decoding.parts import attend_by_parts
from palmetto.model.attention import attend, by_group
from palmetto.model.decoder import Forward, logits
from palmetto.model.layout import Arranged, Layer, Stacked
from palmetto.model.scores import Learned, make_scores
from palmetto.model.sequences import Sequences
from palmetto.model.tuning import ACCELERATOR, Tuning
from palmetto.native.block_attention import Seen, attend_blocks
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Attention

DECODING = ACCELERATOR._replace(unroll=True)
"""The tuning with which weights are arranged for decoding: each layer has separate arrays, like its cache."""

Kind = TypeVar("Kind", bound=Cache)


class Needed(NamedTuple):
    """Says what is needed of each row, bool [R]; results of others may be anything."""

    computed: jax.Array
    """Says whether the row has a token."""
    scored: jax.Array
    """Says whether the row's logits are asked for."""


def streams(model: Model) -> bool:
    """Returns whether a cache of fixed size suffices for sequences of any length.

    That requires that every layer sees only the first positions and a window, and that only distances matter.
    """
    in_every_layer = model.attention.period(model.layers) == 1
    return model.attention.kept is not None and in_every_layer and model.positions.without_end


def by_parts(model: Model, attention: Attention) -> bool:
    """Returns whether this attention of a paged cache is computed part by part, which needs scores of any positions."""
    return not attention.searches and not model.positions.in_a_row


def reads_whole_tables(model: Model) -> bool:
    """Returns whether some attention reads tables of one length as a whole, on which its bits then depend."""
    return not all(by_parts(model, model.attention_of(number)) for number in range(model.layers))


def by_kernel(model: Model, attention: Attention, tuning: Tuning) -> bool:
    """Returns whether a kernel of `native` computes this attention of a paged cache.

    It knows windows and first positions, and neither terms of positions nor capped distances.
    """
    known = attention.band is not None or (attention.kept is not None and not model.positions.turn_pairs)
    plain = known and not attention.searches and not model.positions.add_to_scores
    return plain and tuning.native and model.activations in ("float32", "bfloat16")


def rows_are_their_own(model: Model, tuning: Tuning) -> bool:
    """Returns whether the bits of a flat row depend on the row alone, and not on how many rows a step has.

    That requires that kernels of `native` compute all sums; XLA computes those of experts and of some attentions. XLA
    must also multiply nothing that it then adds, such as scales of norms that are not folded into the weights, since it
    rounds once or twice, depending on the shape.
    """
    attentions = (model.attention_of(number) for number in range(model.layers))
    scales = model.norm_position != "pre" or model.norm_bias or model.qk_norm or model.embedding_norm
    return model.experts is None and not scales and all(by_kernel(model, each, tuning) for each in attentions)


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
    needed: Needed | None = None,
    partition: Partition = UNDIVIDED,
) -> tuple[jax.Array, Kind]:
    """Returns the float32 logits [R, T, V] of tokens [R, T] at `places`, and the cache with them.

    A token sees those at earlier positions of its sequence, in the cache or among `tokens`, and itself.
    arranged: the weights as arranged for DECODING, or stacked for a cache whose layers are.
    prefix: the number [R] of first positions of each row's sequence that see each other.
    learned: the arrays of `for_scores` of each layer; None to compute them, for as many positions as the cache shows.
    tuning: with `native`, kernels of `native` compute all products with weights, and attention where there is one.
    needed: which rows are needed; None if all are.
    partition: how the devices of a mesh divide the step.
    The positions must fit the cache. Experts are dropless, so that a token's result does not depend on how many are run
    together.
    """
    assert not (isinstance(arranged.layers, Stacked) and isinstance(cache, PagedCache))
    positions, sequences = places.positions, Sequences(prefix)

    def attend_cached(
        number: int, layer: Layer, q: jax.Array, k: jax.Array, v: jax.Array, cache: Kind
    ) -> tuple[jax.Array, Kind]:
        attention = model.attention_of(number)
        cache = cache.write(number, k, v, places)
        if isinstance(cache, PagedCache) and by_kernel(model, attention, tuning):
            return _attend_in_place(attention, q, number, cache, places, prefix), cache
        grouped = by_group(q, model.key_value_heads)
        if isinstance(cache, PagedCache) and by_parts(model, attention):
            result = attend_by_parts(make_scores(layer, model, attention, 0, sequences), grouped, number, cache, places)
        else:
            keys, values, seen = cache.read(number, places)
            if attention.searches:
                rows = positions.shape[1]
                result = attention.search(grouped, keys, values, positions, seen, model.positions, rows)
            else:
                scores = make_scores(layer, model, attention, keys.shape[2], sequences)
                if learned is not None:
                    scores = scores._replace(learned=learned[number])
                result = attend(scores, grouped, keys, values, positions, seen)
        return result.swapaxes(1, 2).reshape(q.shape), cache

    forward = Forward(_without_capacity(model), tuning, rematerialize=None, place=partition.place)
    x = forward.begin(arranged, tokens, positions)
    if needed is not None:
        x = _or_zeros(x, needed.computed)
    x, _, cache = forward.through(
        arranged.layers, x, positions, partition.around(attend_cached), cache, fetch=partition.fetch
    )
    states = partition.end(forward.end(arranged, x))
    if needed is not None:
        states = _or_zeros(states, needed.scored)
    scores = logits(arranged.unembedding, states.reshape(-1, states.shape[-1]), tuning.native)
    return scores.reshape(*states.shape[:-1], -1), cache


def _or_zeros(x: jax.Array, kept: jax.Array) -> jax.Array:
    """Returns x [R, …] with zeros in the rows that are not kept [R]; products with packed matrices leave these out."""
    return jnp.where(kept.reshape(-1, *(1,) * (x.ndim - 1)), x, 0)


def _attend_in_place(
    attention: Attention, q: jax.Array, layer: int, cache: PagedCache, places: Places, prefix: jax.Array | None
) -> jax.Array:
    """Returns the attention output [R, 1, H, Q] of flat rows, by the kernel that reads blocks where they lie."""
    positions = places.positions[:, 0]
    window = attention.band.window if attention.band else None
    kept = jnp.zeros_like(positions)
    if attention.kept is not None:
        window, kept = attention.kept.last, kept + attention.kept.first
    first, end = kept if window is None else positions - window + 1, positions + 1
    if prefix is not None:  # whoever is in a prefix sees it, and nothing else
        inside = positions < prefix
        kept, end = jnp.where(inside, prefix, kept), jnp.where(inside, prefix, end)
    keys, values, seen = cache.keys[layer], cache.values[layer], Seen(kept, first, end)
    return attend_blocks(q[:, 0], keys, values, cache.tables, cache.starts, places.rows, seen)[:, None]


def _without_capacity(model: Model) -> Model:
    if model.experts is None:
        return model
    return model.model_copy(update={"experts": model.experts.model_copy(update={"capacity_factor": None})})
