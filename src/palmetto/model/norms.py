"""Normalization layers. Their learned scales are multiplied into the kernels behind them (layout.py)."""

import jax
import jax.numpy as jnp

EPSILON = 1e-5


def standardize(x: jax.Array) -> jax.Array:
    """LayerNorm before its scale, without bias, over the last axis; statistics in float32, the result in x's dtype."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)
