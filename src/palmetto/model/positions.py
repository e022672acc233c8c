"""Positions: rotary embeddings (Su et al., arXiv 2104.09864).

A head's pairs are neighbours in the stored kernels (x0 y0 x1 y1 …, as in the paper) and lie in two halves
(x0 x1 … y0 y1 …) where they are turned: queries and keys are reordered alike, so that no product changes.
"""

import jax
import jax.numpy as jnp

BASE = 10000.0


def rotary_angles(positions: jax.Array, head_size: int) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines [T, Q/2] in float32 for integer positions [T]: pair i turns by position · 10000^(−2i/Q)."""
    frequencies = BASE ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    angles = positions.astype(jnp.float32)[:, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cosines: jax.Array, sines: jax.Array) -> jax.Array:
    """Turns the pairs (x[i], x[i + Q/2]) of the last axis: x [..., T, Q], angles broadcast against [..., T, Q/2]."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cosines - b * sines, a * sines + b * cosines], axis=-1).astype(x.dtype)
