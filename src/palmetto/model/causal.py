"""Causal attention with plain scores, its weights kept for the backward pass: the quickest form of short sequences.

Queries come scaled. Since G query heads share a head of keys and values, their G·T rows are one matrix in products:
row t·G + g is head g at position t. N counts sequences and heads of keys and values.
"""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model.products import in_float32, transposed

Residuals = tuple[jax.Array, jax.Array, jax.Array, list[jax.Array], list[tuple[jax.Array, jax.Array]]]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array, query_rows: int) -> jax.Array:
    """Returns attention where position t sees keys up to t, [N, T, G, Q], of q [N, T, G, Q], k and v [N, T, Q].

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
    """Returns the derivatives by q, k and v.

    With weights p = e/Σe and output o: ds = p ⊙ (d·vᵀ − rowsum(d ⊙ o)), dq = ds·k, dk = dsᵀ·q, dv = pᵀ·d. dk and
    dv are gathered transposed, [B, Q, T]: products with the narrow matrix first are quicker on a CPU.
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
        dk = _add_to_first(dk, in_float32(rows_transposed[:, :, block], ds))
        dv = _add_to_first(dv, in_float32(transposed(scaled), exponentials))
    return jnp.concatenate(dq, axis=1).reshape(shape), dk.mT.astype(k.dtype), dv.mT.astype(v.dtype)


causal_attention.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """Returns the matrix product of each sequence, axis 0, over the given axes, in float32."""
    dimensions = (((a_axis,), (b_axis,)), ((0,), (0,)))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _add_to_first(total: jax.Array, part: jax.Array) -> jax.Array:
    """The sum of a total [B, Q, T] and a part [B, Q, keys] of its first keys.

    A part of all keys is added as a whole: JAX 0.11.2 crashes where such a sum is written as a scatter.
    """
    keys = part.shape[-1]
    return total + part if keys == total.shape[-1] else total.at[:, :, :keys].add(part)


def _mask_future(scores: jax.Array, start: int, heads: int) -> jax.Array:
    """Returns scores [B, rows · H, keys] of the positions from `start` on, −∞ (but finite) where a key lies ahead."""
    position = start + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) // heads
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2) <= position, scores, -1e30)
