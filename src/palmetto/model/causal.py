"""Causal attention with plain scores that keeps its weights for the backward pass; it is fastest on short sequences.

Queries are already scaled. The G query heads that share a key/value head form one matrix of G·T rows in products: row
t·G + g is head g at position t. N is the number of sequences times the number of key/value heads.
"""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model.products import in_float32, transposed

Residuals = tuple[jax.Array, jax.Array, jax.Array, list[jax.Array], list[tuple[jax.Array, jax.Array]]]


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array, starts: jax.Array | None, query_rows: int) -> jax.Array:
    """Returns causal attention [N, T, G, Q] for q [N, T, G, Q] and k and v [N, T, Q].

    A position sees no key before its `starts`, int32 [N, T], the place where its example begins; None for 0.

    Each block of `query_rows` positions is multiplied with the keys up to its last position only, so that nearly half
    of the full square is never computed, forward or backward. The derivative is written by hand because automatic
    differentiation would keep several arrays of the size of the weights, where one is enough.
    """
    return _forward(q, k, v, starts, query_rows)[0]


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, starts: jax.Array | None, query_rows: int
) -> tuple[jax.Array, Residuals]:
    batch, length, heads, size = q.shape
    rows = q.reshape(batch, length * heads, size)
    outputs, kept = [], []
    for start in range(0, length, query_rows):
        end = min(start + query_rows, length)
        scores = _mask_future(_product(rows[:, start * heads : end * heads], k[:, :end], 2, 2), start, heads)
        if starts is not None:
            scores = _mask_before(scores, starts[:, start:end])
        exponentials = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        inverse_sum = 1 / jnp.sum(exponentials, axis=-1, keepdims=True)
        exponentials = exponentials.astype(v.dtype)
        outputs.append((_product(exponentials, v[:, :end], 2, 1) * inverse_sum).astype(q.dtype))
        kept.append((exponentials, inverse_sum))
    return jnp.concatenate(outputs, axis=1).reshape(q.shape), (rows, k, v, outputs, kept)


def _backward(query_rows: int, residuals: Residuals, d: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    """Returns the derivatives with respect to q, k and v.

    With weights p = e/Σe and output o: ds = p ⊙ (d·vᵀ − rowsum(d ⊙ o)), dq = ds·k, dk = dsᵀ·q, dv = pᵀ·d. dk and
    dv are accumulated transposed, [N, Q, T]: on a CPU products are faster with the narrow matrix first.
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
        row_sums = jnp.sum(scaled.astype(jnp.float32) * output, axis=-1, keepdims=True)
        ds = (exponentials * (_product(scaled, v[:, :end], 2, 2) - row_sums)).astype(d.dtype)
        dq.append(_product(ds, k[:, :end], 2, 1).astype(d.dtype))
        dk = _add_to_first(dk, in_float32(rows_transposed[:, :, block], ds))
        dv = _add_to_first(dv, in_float32(transposed(scaled), exponentials))
    return jnp.concatenate(dq, axis=1).reshape(shape), dk.mT.astype(k.dtype), dv.mT.astype(v.dtype), None


causal_attention.defvjp(_forward, _backward)


def _product(a: jax.Array, b: jax.Array, a_axis: int, b_axis: int) -> jax.Array:
    """Returns the matrix products over the given axes, batched over axis 0, in float32."""
    dimensions = (((a_axis,), (b_axis,)), ((0,), (0,)))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _add_to_first(total: jax.Array, part: jax.Array) -> jax.Array:
    """Returns `total` [N, Q, T] with `part` [N, Q, keys] added to its first keys.

    A part that covers all keys is added directly: JAX 0.11.2 crashes if that sum is written as a scatter.
    """
    keys = part.shape[-1]
    return total + part if keys == total.shape[-1] else total.at[:, :, :keys].add(part)


def _mask_future(scores: jax.Array, start: int, heads: int) -> jax.Array:
    """Returns scores [N, rows · G, keys] of positions `start` and later, with −1e30 where the key is in the future."""
    position = start + jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) // heads
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2) <= position, scores, -1e30)


def _mask_before(scores: jax.Array, starts: jax.Array) -> jax.Array:
    """Returns scores [N, rows · G, keys] with −1e30 where the key is before the row's entry of `starts` [N, rows]."""
    of_rows = jnp.repeat(starts, scores.shape[1] // starts.shape[1], axis=1)[..., None]
    return jnp.where(jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2) >= of_rows, scores, -1e30)
