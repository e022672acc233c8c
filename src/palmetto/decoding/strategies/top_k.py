"""Keeps the k most probable tokens."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.decoding.strategies.ranks import ranks
from palmetto.decoding.strategies.strategy import Number


class TopK(Number):
    """Keeps the `top_k` most probable tokens; of equal logits the lower token wins."""

    name: ClassVar[str] = "top_k"
    unused: ClassVar[float] = np.inf
    scaled: ClassVar[bool] = True

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        return jnp.where(ranks(logits) < parameters[:, None], logits, -jnp.inf)
