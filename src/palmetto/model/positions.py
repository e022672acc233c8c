"""Positions: rotary embeddings (Su et al., arXiv 2104.09864)."""

import jax
import jax.numpy as jnp

BASE = 10000.0


def rotary_angles(positions: jax.Array, head_size: int) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines [T, Q/2] in float32 for integer positions [T]: pair i turns by position · 10000^(−2i/Q)."""
    frequencies = BASE ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    angles = positions.astype(jnp.float32)[:, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cosines: jax.Array, sines: jax.Array) -> jax.Array:
    """Turns the pairs (x[2i], x[2i + 1]) of the last axis: x [..., T, Q], angles [T, Q/2]."""
    even, odd = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    turned = jnp.stack([even * cosines - odd * sines, even * sines + odd * cosines], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
