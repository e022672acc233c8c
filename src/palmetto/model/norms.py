"""Normalization layers."""

import jax
import jax.numpy as jnp

EPSILON = 1e-5


def layer_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """LayerNorm without bias over the last axis: x [..., D], scale [D]; statistics in float32, result as x."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + EPSILON) * scale).astype(x.dtype)
