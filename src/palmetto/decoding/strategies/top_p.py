"""Keeps the most probable tokens that reach a probability together (arXiv 1904.09751)."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.ranks import before
from palmetto.decoding.strategies.strategy import Number


class TopP(Number):
    """Keeps the smallest set of most probable tokens whose probability together is at least `top_p`."""

    name: ClassVar[str] = "top_p"
    unused: ClassVar[float] = 1.0
    scaled: ClassVar[bool] = True

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        kept = (before(logits, -logits) < parameters[:, None]) | (parameters[:, None] == self.unused)
        return jnp.where(kept, logits, -jnp.inf)
