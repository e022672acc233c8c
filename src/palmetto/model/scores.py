"""Computes attention scores of a block of queries against a block of keys: products, position terms and masks.

Each kind of positions or attention defines its part in its own file; the algorithms that visit blocks (attention.py,
blocked.py) do not depend on it. Axes: B sequences, K key/value heads, G = H/K query heads per key/value head, Q the
head size.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.blocked import HIDDEN, products
from palmetto.model.masks import visible, with_prefix
from palmetto.model.sequences import WHOLE, Sequences
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Attention, facing

Learned = Mapping[str, jax.Array]
"""The learned arrays from which scores are computed, by name (Positions.for_scores)."""


class Scores(NamedTuple):
    """Holds the score function of one layer, its learned arrays, and what is particular to the sequences."""

    function: Callable[..., jax.Array]
    """(learned, sequences, q [B, K, rows, G, Q], k [B, K, cols, Q], queries [rows], keys [cols]) → scores
    [B, K, rows, G, cols] in float32. Places [rows] and [cols] must be consecutive; [B, rows] and [B, cols] are any
    positions of each sequence, which is then one example. Queries are scaled; queries and keys are rotated. On a device
    with only some of the heads, `learned` is theirs."""
    learned: Learned
    sequences: Sequences


def make_scores(
    layer: Learned, model: Model, attention: Attention, length: int, sequences: Sequences = WHOLE
) -> Scores:
    """Returns the scores of a layer whose arranged arrays are `layer`, for up to `length` positions."""
    positions, farthest = model.positions, attention.farthest

    def scores(
        learned: Learned, sequences: Sequences, q: jax.Array, k: jax.Array, queries: jax.Array, keys: jax.Array
    ) -> jax.Array:
        result, together = products(positions.query(q, learned), k), sequences.together(queries, keys)
        places = queries, keys
        queries, keys = sequences.positions(queries), sequences.positions(keys)
        if farthest is not None:
            result = _capped(result, q, k, queries, keys, model, farthest)
        rows, columns = facing(queries, keys)
        if positions.add_to_scores:
            # Distances within an example are those of its places, which are in a row.
            by_place = positions.in_a_row and together is not None
            seen_as = [attention.seen_as(each) for each in (facing(*places) if by_place else (rows, columns))]
            result = result + positions.score(q, seen_as[0], seen_as[1], learned, model.heads, farthest)
        seen = visible(attention, rows, columns)
        if sequences.prefix is not None:
            seen = with_prefix(seen, rows, columns, sequences.prefix[:, None, None, None, None])
        if together is not None:
            seen = seen & together
        return jnp.where(seen, result, HIDDEN)

    return Scores(scores, positions.for_scores(layer, model, length), sequences)


def _capped(
    result: jax.Array, q: jax.Array, k: jax.Array, queries: jax.Array, keys: jax.Array, model: Model, farthest: int
) -> jax.Array:
    """Returns the products, those of keys beyond distance `farthest` recomputed as if the distance were `farthest`."""
    # Rotate the query to position `farthest` and the key to position 0.
    rows, columns = facing(queries, keys)
    to_farthest = model.positions.turn(farthest - rows[..., 0, 0], model.query_size)
    to_start = model.positions.turn(-columns[..., 0, 0, :], model.query_size)
    if to_farthest is None or to_start is None:
        return result
    at_farthest = products(to_farthest(q), to_start(k[..., None, :])[..., 0, :])
    return jnp.where(rows - columns > farthest, at_farthest, result)


def own_heads(by_head: jax.Array, heads: int) -> jax.Array:
    """Returns the entries of an array [H] for this device's `heads` heads, if devices along model share a layer."""
    if heads == by_head.shape[0]:
        return by_head
    return jax.lax.dynamic_slice_in_dim(by_head, jax.lax.axis_index("model") * heads, heads)


def by_distance(
    table: Callable[[jax.Array], jax.Array], queries: jax.Array, keys: jax.Array, farthest: int | None
) -> jax.Array:
    """Returns scores [.., K, rows, G, cols] that depend on the distance between query and key.

    `table`: distances [n] → scores [.., K, G, rows or 1, n]. Positions have the shapes that `facing` returns; positions
    given per sequence must be less than the number of keys. Distances beyond `farthest` count as `farthest`.
    """
    rows, cols = queries.shape[-3], keys.shape[-1]
    in_a_row = queries.ndim == 3
    if in_a_row:  # each distance occurs once: that of row i and column j is at i + (cols − 1 − j)
        distances = queries[0, 0, 0] - keys[0, 0, -1] + jnp.arange(rows + cols - 1)
    else:
        distances = jnp.arange(1 - cols, cols)
    scores = table(distances if farthest is None else jnp.minimum(distances, farthest))
    if in_a_row:
        scores = _skew(jnp.broadcast_to(scores, (*scores.shape[:-2], rows, scores.shape[-1])), cols)
    else:
        place = jnp.clip(queries - keys + cols - 1, 0, 2 * cols - 2).swapaxes(2, 3)
        scores = jnp.take_along_axis(scores if scores.ndim == 5 else scores[None], place, axis=-1)
    return scores.swapaxes(-3, -2)


def _skew(x: jax.Array, cols: int) -> jax.Array:
    """Returns [..., rows, cols] whose entry (i, j) is x[i, i + cols − 1 − j], for x [..., rows, rows + cols − 1].

    It uses no gather, so that its derivative uses no scatter.
    """
    *outer, rows, width = x.shape
    flat = jnp.pad(x.reshape(*outer, rows * width), [(0, 0)] * len(outer) + [(0, rows)])
    return flat.reshape(*outer, rows, width + 1)[..., :cols][..., ::-1]
