"""Causal attention on a CPU by one kernel forward and one backward, which never write scores to memory.

An element's terms are added in an order that depends on the length, the number of heads and their size alone, however
many threads compute it and whatever the other sequences are.
"""

import jax
import jax.numpy as jnp

LARGEST_HEAD = 256
"""The largest size of a head that the kernels take."""

Residuals = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


def fused_attention(q: jax.Array, k: jax.Array, v: jax.Array, first: jax.Array | None = None) -> jax.Array:
    """Returns causal attention [..., T, K, G, Q] for q of that shape and k and v [..., T, K, Q].

    Queries are already scaled. All are float32 or bfloat16, with products of that type, sums and softmax in float32.
    In bfloat16, AMX and AVX-512's products take denormals for zeros.

    first: the first position that each one sees, int32 [..., T], which never decreases along T; None for position 0.
    """
    return _attention(q, k, v, jnp.zeros(q.shape[:-3], jnp.int32) if first is None else first)


@jax.custom_vjp
def _attention(q: jax.Array, k: jax.Array, v: jax.Array, first: jax.Array) -> jax.Array:
    return _forward(q, k, v, first)[0]


def _forward(q: jax.Array, k: jax.Array, v: jax.Array, first: jax.Array) -> tuple[jax.Array, Residuals]:
    """Returns the output and what the derivative needs: the operands, the output, each row's largest score and 1/Σe."""
    *batch, length, heads, group, size = q.shape
    assert q.dtype in (jnp.float32, jnp.bfloat16), "a type of the kernels"
    assert q.dtype == k.dtype == v.dtype, "all of one type"
    assert k.shape == v.shape == (*batch, length, heads, size), "keys and values fit queries"
    assert size <= LARGEST_HEAD, "a size of the kernels"
    assert first.shape == (*batch, length), "a first position for each"
    assert first.dtype == jnp.int32, "positions are whole numbers"
    results = (_like(q), jax.ShapeDtypeStruct((*batch, heads, length * group, 2), jnp.float32))
    call = jax.ffi.ffi_call("palmetto_attention", results, vmap_method="broadcast_all")
    output, statistics = call(q, k, v, first)
    return output, (q, k, v, first, output, statistics)


def _backward(residuals: Residuals, d: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q, k, v, *_ = residuals
    results = (_like(q), _like(k), _like(v))
    dq, dk, dv = jax.ffi.ffi_call("palmetto_attention_backward", results, vmap_method="broadcast_all")(*residuals, d)
    return dq, dk, dv, None


_attention.defvjp(_forward, _backward)


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
