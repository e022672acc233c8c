"""Attention over a paged cache, part by part, so that its bits do not depend on the length of the tables.

All parts have the same shape and are added in order, with a running maximum (Milakov and Gimelshein, arXiv 1805.02867).
A part without visible keys changes nothing: after the others it is multiplied by 0, before them it is forgotten.
"""

import jax
import jax.numpy as jnp

from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.paged import PagedCache, part_positions
from palmetto.model.blocked import HIDDEN
from palmetto.model.scores import Scores


def attend_by_parts(scores: Scores, q: jax.Array, layer: int, cache: PagedCache, places: Places) -> jax.Array:
    """Returns the attention output in q's shape, [R, K, 1, G, Q], for the rows of `places`.

    Only as many parts are visited as the longest of the rows' sequences has.
    """
    heads = q.shape[:-1]
    first = jnp.full(heads, HIDDEN), jnp.zeros(heads), jnp.zeros(q.shape)

    ones = jnp.ones((*q.shape[:3], part_positions(cache.keys[layer].shape[2]), 1))

    def visit(part: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        largest, total, result = sums
        keys, values, seen = cache.read_part(layer, places, part)
        own = scores.function(scores.learned, scores.sequences, q, keys, places.positions, seen)
        larger = jnp.maximum(largest, jnp.max(own, axis=-1))
        weights, kept = jnp.exp(own - larger[..., None]), jnp.exp(largest - larger)
        merged = weights.astype(values.dtype).reshape(*q.shape[:2], -1, values.shape[2])
        added = jnp.matmul(merged, values, preferred_element_type=jnp.float32).reshape(q.shape)
        return larger, total * kept + jnp.matmul(weights, ones)[..., 0], result * kept[..., None] + added

    _, total, result = jax.lax.fori_loop(0, cache.parts(places), visit, first)
    return (result / total[..., None]).astype(q.dtype)
