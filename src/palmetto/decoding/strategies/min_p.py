"""Keeps the tokens that are not much less probable than the most probable one (arXiv 2407.01082)."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.strategy import Number


class MinP(Number):
    """Keeps the tokens whose probability is at least `min_p` times that of the most probable one."""

    name: ClassVar[str] = "min_p"
    unused: ClassVar[float] = 0.0
    scaled: ClassVar[bool] = True

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        shares = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
        return jnp.where(shares >= parameters[:, None], logits, -jnp.inf)
