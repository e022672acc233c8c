"""Multi-query attention: H query heads share one head of keys and values (Shazeer, arXiv 1911.02150)."""

import math

import jax
import jax.numpy as jnp


def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array, query_rows: int) -> jax.Array:
    """Softmax(q·kᵀ/√Q)·v where position t sees keys up to t: q [B, T, H, Q], k and v [B, T, Q] → [B, T, H, Q].

    Query rows are taken `query_rows` at a time against the keys up to the last of them: nearly half of the products of
    a full square are never formed.
    """
    length = q.shape[1]
    blocks = []
    for start in range(0, length, query_rows):
        end = min(start + query_rows, length)
        visible = jnp.arange(end)[None, :] <= jnp.arange(start, end)[:, None]
        blocks.append(attend(q[:, start:end], k[:, :end], v[:, :end], visible))
    return jnp.concatenate(blocks, axis=1)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, visible: jax.Array) -> jax.Array:
    """Attention of q [B, T, H, Q] to k and v [B, S, Q] where `visible` [T, S] is true; softmax in float32."""
    batch, rows, heads, size = q.shape
    # The heads share their keys, so all of them are one matrix product a sequence.
    flat = (q * (1 / math.sqrt(size))).reshape(batch, rows * heads, size)
    scores = jnp.einsum("bnq,bsq->bns", flat, k, preferred_element_type=jnp.float32)
    scores = jnp.where(visible[:, None, :], scores.reshape(batch, rows, heads, -1), -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype).reshape(batch, rows * heads, -1)
    return jnp.einsum("bns,bsq->bnq", weights, v).reshape(q.shape)
