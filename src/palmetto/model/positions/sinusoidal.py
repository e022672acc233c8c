"""Sinusoidal positions: fixed sines and cosines are added to the embedding (arXiv 1706.03762, section 3.5)."""

from collections.abc import Mapping
from typing import Literal

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import check_even


class SinusoidalPositions(Positions):
    """Adds fixed sines and cosines of the position to the embedding (arXiv 1706.03762, section 3.5)."""

    name: Literal["sinusoidal"] = "sinusoidal"

    def check(self, model: Sizes) -> None:
        check_even("model.d_model", model.d_model, "sinusoids come in pairs of sine and cosine")

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        return x + sinusoids(positions, x.shape[-1])


def sinusoids(positions: Array, width: int) -> Array:
    """Returns the sines of position · 10000^(−2i/width), then the cosines, as float32 [..., T, width]."""
    import jax.numpy as jnp

    frequencies = 10000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions.astype(jnp.float32)[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
