"""External memory: beside a local window, the best-matching keys of all the past, found exactly (arXiv 2203.08913)."""

import jax
import jax.numpy as jnp

from palmetto.model.positions import rotary_angles, rotate
from palmetto.recipe.model import MemoryAttention, Model, RotaryPositions


def memory_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    model: Model,
    settings: MemoryAttention,
    query_rows: int,
    queries: jax.Array,
) -> jax.Array:
    """q [B, K, T, G, Q], k and v [B, K, S, Q] → q's shape; one softmax over window and memory, in float32.

    `queries` [T] are the positions of q; keys stand at 0 … S − 1. What lies before the window is
    memory: each query takes its `neighbours` best keys from it, compared and weighted as if they stood at the window's
    far end. `query_rows` queries are searched for at a time: memory in use is their number times S.
    """
    positions = jnp.arange(k.shape[2])
    stored = k
    if isinstance(model.positions, RotaryPositions):
        # Keys come rotated by their positions: memory is what they were before.
        back = rotary_angles(-positions, model.query_size, model.positions)
        stored = rotate(k[..., None, :], back)[..., 0, :]
    outputs = []
    for start in range(0, q.shape[2], query_rows):
        rows = slice(start, start + query_rows)
        outputs.append(_rows(q[:, :, rows], k, stored, v, queries[rows], positions, model, settings))
    return jnp.concatenate(outputs, axis=2)


def _rows(
    q: jax.Array,
    k: jax.Array,
    stored: jax.Array,
    v: jax.Array,
    queries: jax.Array,
    keys: jax.Array,
    model: Model,
    settings: MemoryAttention,
) -> jax.Array:
    distances = (queries[:, None] - keys[None, :])[:, None, :]
    near = jnp.where((distances >= 0) & (distances < settings.window), _dot(q, k), -jnp.inf)
    from_edge = q
    if isinstance(model.positions, RotaryPositions):
        edge = rotary_angles(settings.window - queries, model.query_size, model.positions)
        from_edge = rotate(q, edge)
    past = jnp.where(distances >= settings.window, _dot(from_edge, stored), -jnp.inf)
    neighbours = min(settings.neighbours, k.shape[2])
    best, found = jax.lax.top_k(past, neighbours)
    weights = jax.nn.softmax(jnp.concatenate([near, best], axis=-1), axis=-1).astype(v.dtype)
    local, remembered = jnp.split(weights, [k.shape[2]], axis=-1)
    chosen = jnp.take_along_axis(v[:, :, None, None], found[..., None], axis=4)  # [B, K, rows, G, neighbours, Q]
    result = jnp.einsum("bkrgs,bksq->bkrgq", local, v, preferred_element_type=jnp.float32)
    result += jnp.einsum("bkrgn,bkrgnq->bkrgq", remembered, chosen, preferred_element_type=jnp.float32)
    return result.astype(q.dtype)


def _dot(q: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.einsum("bkrgq,bksq->bkrgs", q, k, preferred_element_type=jnp.float32)
