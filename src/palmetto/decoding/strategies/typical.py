"""Keeps the tokens that are about as surprising as expected (arXiv 2202.00666)."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.ranks import before
from palmetto.decoding.strategies.strategy import Number


class Typical(Number):
    """Keeps the smallest set of tokens that reaches the probability `typical_p`, the most typical ones first.

    A token is the more typical, the nearer its information is to the entropy.
    """

    name: ClassVar[str] = "typical_p"
    unused: ClassVar[float] = 1.0
    scaled: ClassVar[bool] = True

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        log_probabilities = jax.nn.log_softmax(logits, axis=-1)
        probabilities = jnp.exp(log_probabilities)
        information = jnp.where(probabilities > 0, -log_probabilities, 0.0)
        entropy = jnp.sum(probabilities * information, axis=-1, keepdims=True)
        untypical = jnp.where(probabilities > 0, jnp.abs(information - entropy), jnp.inf)
        kept = (before(logits, untypical) < parameters[:, None]) | (parameters[:, None] == self.unused)
        return jnp.where(kept, logits, -jnp.inf)
