"""Attention: H query heads over K heads of keys and values that groups of G = H/K queries share.

K = 1 is multi-query attention (arXiv 1911.02150), K = H multi-head, between them grouped-query (arXiv 2305.13245).
Queries come scaled by 1/√Q (layout.py). Since a group shares its keys, its G·T query rows are one matrix for the
products: row t·G + g is head g at position t.
"""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model import accelerated
from palmetto.model.blocked import blocked_attention
from palmetto.model.layout import Layout
from palmetto.model.masks import block_pairs
from palmetto.model.memory import memory_attention
from palmetto.model.products import in_float32, transposed
from palmetto.model.scores import Learned, Scores, make_scores
from palmetto.recipe.model import (
    AlibiPositions,
    Attention,
    FullAttention,
    LocalAttention,
    MemoryAttention,
    Model,
    T5Positions,
    TransformerXLPositions,
)

Residuals = tuple[jax.Array, jax.Array, jax.Array, list[jax.Array], list[tuple[jax.Array, jax.Array]]]


def attention(
    layer: Learned,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    model: Model,
    kind: Attention,
    layout: Layout,
    prefix: jax.Array | None,
) -> jax.Array:
    """A whole sequence's attention in the way that suits it best: q [B, T, H, Q], k and v [B, T, K, Q] → q's shape.

    `prefix` [B]: so many first positions see each other.
    """
    batch, length, heads, size = q.shape
    grouped, k, v = by_group(q, k.shape[2]), k.swapaxes(1, 2), v.swapaxes(1, 2)
    plain = prefix is None and not isinstance(model.positions, AlibiPositions | T5Positions | TransformerXLPositions)
    if plain and isinstance(kind, FullAttention | LocalAttention):
        window = kind.window if isinstance(kind, LocalAttention) else None
        flash = accelerated.choose(layout.platform, q.dtype, length, size)
        if flash:
            return flash(q, k.swapaxes(1, 2), v.swapaxes(1, 2), window)
    if isinstance(kind, MemoryAttention):
        result = memory_attention(grouped, k, v, model, kind, layout.query_rows)
    elif plain and isinstance(kind, FullAttention) and length <= layout.kept_length:
        merged = (array.reshape(-1, *array.shape[2:]) for array in (grouped, k, v))
        result = causal_attention(*merged, layout.query_rows).reshape(grouped.shape)
    else:
        scores = make_scores(layer, model, kind, length, prefix)
        seen = kind if prefix is None else None
        pairs = block_pairs(seen, length, layout.block_rows, layout.block_rows)
        result = blocked_attention(
            scores.function, scores.learned, prefix, grouped, k, v, pairs, layout.block_rows, layout.block_rows
        )
    return result.swapaxes(1, 2).reshape(batch, length, heads, size)


def by_group(q: jax.Array, groups: int) -> jax.Array:
    """Queries [B, T, H, Q] → [B, K, T, G, Q]."""
    batch, length, _, size = q.shape
    return q.reshape(batch, length, groups, -1, size).swapaxes(1, 2)


def attend(scores: Scores, q: jax.Array, k: jax.Array, v: jax.Array, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """The plain form, for decoding: q [B, K, rows, G, Q], k and v [B, K, cols, Q] → q's shape, softmax in float32.

    `queries` [rows] and `keys` [cols] are positions.
    """
    weights = jax.nn.softmax(scores.function(scores.learned, scores.prefix, q, k, queries, keys), axis=-1)
    merged = weights.astype(v.dtype).reshape(*q.shape[:2], -1, k.shape[2])
    return jnp.matmul(merged, v, preferred_element_type=jnp.float32).reshape(q.shape).astype(q.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array, query_rows: int) -> jax.Array:
    """Attention where position t sees keys up to t: q [N, T, G, Q], k and v [N, T, Q] → [N, T, G, Q].

    `query_rows` positions are taken at a time against the keys up to the last of them: nearly half of the products of
    a full square are never formed, forward or backward. The derivative is by hand, because the automatic one keeps
    and moves several arrays of the size of the weights where one is enough.
    """
    return _forward(q, k, v, query_rows)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, query_rows: int) -> tuple[jax.Array, Residuals]:
    batch, length, heads, size = q.shape
    rows = q.reshape(batch, length * heads, size)
    outputs, kept = [], []
    for start in range(0, length, query_rows):
        end = min(start + query_rows, length)
        scores = _mask_future(_product(rows[:, start * heads : end * heads], k[:, :end], 2, 2), start, heads)
        exponentials = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        inverse_sum = 1 / jnp.sum(exponentials, axis=-1, keepdims=True)
        exponentials = exponentials.astype(v.dtype)
        outputs.append((_product(exponentials, v[:, :end], 2, 1) * inverse_sum).astype(q.dtype))
        kept.append((exponentials, inverse_sum))
    return jnp.concatenate(outputs, axis=1).reshape(q.shape), (rows, k, v, outputs, kept)


def _backward(query_rows: int, residuals: Residuals, d: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """With weights p = e/Σe and output o: ds = p ⊙ (d·vᵀ − rowsum(d ⊙ o)), dq = ds·k, dk = dsᵀ·q, dv = pᵀ·d.

    dk and dv are gathered transposed, [B, Q, T]: products with the narrow matrix first are quicker on a CPU.
    """
    rows, k, v, outputs, kept = residuals
    length, heads = d.shape[1:3]
    shape, d = d.shape, d.reshape(rows.shape)
    rows_transposed = transposed(rows)
    dq = []
    dk = dv = jnp.zeros((shape[0], shape[3], length), jnp.float32)
    for start, output, (exponentials, inverse_sum) in zip(range(0, length, query_rows), outputs, kept, strict=True):
        end = min(start + query_rows, length)
        block = slice(start * heads, end * heads)
        scaled = (d[:, block] * inverse_sum).astype(d.dtype)
        along = jnp.sum(scaled.astype(jnp.float32) * output, axis=-1, keepdims=True)
        ds = (exponentials * (_product(scaled, v[:, :end], 2, 2) - along)).astype(d.dtype)
        dq.append(_product(ds, k[:, :end], 2, 1).astype(d.dtype))
        dk = dk.at[:, :, :end].add(in_float32(rows_transposed[:, :, block], ds))
        dv = dv.at[:, :, :end].add(in_float32(transposed(scaled), exponentials))
    return jnp.concatenate(dq, axis=1).reshape(shape), dk.mT.astype(k.dtype), dv.mT.astype(v.dtype)


causal_attention.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """The matrix product of each sequence, axis 0, over the given axes, in float32."""
    dimensions = (((a_axis,), (b_axis,)), ((0,), (0,)))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _mask_future(scores: jax.Array, start: int, heads: int) -> jax.Array:
    """Scores [B, rows · H, keys] of the positions from `start` on, −∞ (but finite) where a key lies ahead."""
    position = start + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) // heads
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2) <= position, scores, -1e30)
