"""Positions: what turns queries and keys, what is added to embeddings, and what distances mean for scores.

A head's rotary pairs are neighbours in the stored kernels (x0 y0 x1 y1 …, as in the paper) and lie in two halves
(x0 x1 … y0 y1 …) where they are turned: queries and keys are reordered alike, so that no product changes.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.recipe.model import ParallelWindows, RotaryPositions, T5Positions

Angles = tuple[jax.Array, jax.Array]
"""Cosines and sines [T, Q/2] in float32."""


def rotary_angles(positions: jax.Array, head_size: int, settings: RotaryPositions) -> Angles:
    """Of integer positions [T]: pair i turns by position · base^(−2i/Q) (arXiv 2104.09864, section 3.2)."""
    base = settings.base
    if settings.scaling == "ntk":  # the slowest pair's angle is divided by the factor, the fastest's stays
        base *= settings.factor ** (head_size / max(head_size - 2, 1))
    frequencies = base ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
    if settings.scaling == "interpolation":
        frequencies = frequencies / settings.factor
    elif settings.scaling == "truncated":
        assert settings.trained is not None
        frequencies = jnp.where(frequencies * settings.trained >= 2 * math.pi, frequencies, 0.0)
    angles = positions.astype(jnp.float32)[:, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, angles: Angles) -> jax.Array:
    """Turns the pairs (x[i], x[i + Q/2]) of the last axis: x [..., T, heads, Q], angles [T, Q/2]."""
    cosines, sines = (array[:, None] for array in angles)
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cosines - b * sines, a * sines + b * cosines], axis=-1).astype(x.dtype)


def sinusoids(positions: jax.Array, width: int) -> jax.Array:
    """[T, width] in float32: the sines of position · 10000^(−2i/width), then the cosines (arXiv 1706.03762)."""
    frequencies = 10000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions.astype(jnp.float32)[:, None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def slopes(heads: int) -> np.ndarray:
    """ALiBi's slopes [H] in float32: 2^(−8/H), 2^(−16/H), …; for other than powers of two those of the power below,
    then every other of twice that (arXiv 2108.12409, section 3)."""
    whole = 1 << (heads.bit_length() - 1)

    def geometric(n: int) -> np.ndarray:
        return 2.0 ** (-8.0 / n * np.arange(1, n + 1))

    return np.concatenate([geometric(whole), geometric(2 * whole)[::2][: heads - whole]]).astype(np.float32)


def buckets(distances: jax.Array, settings: T5Positions) -> jax.Array:
    """T5's bucket of each distance (query minus key, integers of any shape), int32 (arXiv 1910.10683, section 2.1).

    Half of a direction's buckets hold one distance each, the others grow logarithmically up to max_distance. Keys that
    lie ahead share bucket 0 unless the buckets are bidirectional.
    """
    held = settings.buckets // 2 if settings.bidirectional else settings.buckets
    exact = held // 2
    size = jnp.abs(distances) if settings.bidirectional else jnp.maximum(distances, 0)
    ratio = jnp.log(jnp.maximum(size, exact).astype(jnp.float32) / exact) / math.log(settings.max_distance / exact)
    far = exact + (ratio * (held - exact)).astype(jnp.int32)
    bucket = jnp.where(size < exact, size, jnp.minimum(far, held - 1))
    ahead = (distances < 0) & settings.bidirectional
    return jnp.where(ahead, bucket + held, bucket).astype(jnp.int32)


def shared(positions: jax.Array, windows: ParallelWindows) -> jax.Array:
    """The positions that parallel context windows give to integer indices: each window's begin at 0."""
    end = windows.count * windows.window
    return jnp.where(positions < end, positions % windows.window, positions - end + windows.window)
