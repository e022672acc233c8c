"""Samples the next token from logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.errors import UserError


class Sampling(NamedTuple):
    """Holds the settings of sampling; top-k is applied before top-p."""

    temperature: float = 0.0
    """The number that divides the logits; 0 is greedy."""
    top_k: int | None = None
    """The number of most probable tokens to sample from; None for all."""
    top_p: float | None = None
    """The probability that the most probable tokens to sample from must reach together (arXiv 1904.09751)."""

    def check(self) -> "Sampling":
        """Returns self; raises UserError that names the option that is out of range."""
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"--temperature {self.temperature}: expected 0 (greedy) or more, such as 0.8")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"--top-k {self.top_k}: expected at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p}: expected more than 0 and at most 1")
        return self


SEEDS = 2**64
"""The number of seeds, which count from 0."""


def seeded(seed: int) -> jax.Array:
    """Returns the key of a 64-bit seed; for seeds below 2^32 it equals jax.random.key, which ignores higher bits."""
    assert 0 <= seed < SEEDS
    return jax.random.wrap_key_data(jnp.array([seed >> 32, seed % 2**32], jnp.uint32), impl="threefry2x32")


def sample(logits: jax.Array, key: jax.Array, sampling: Sampling) -> jax.Array:
    """Returns int32 tokens [B], sampled from float32 logits [B, V]."""
    if sampling.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    below = logits - jnp.max(logits, axis=-1, keepdims=True)  # the largest is 0, whatever divides it
    scaled = below / max(sampling.temperature, float(jnp.finfo(jnp.float32).tiny))
    return jax.random.categorical(key, restrict(scaled, sampling)).astype(jnp.int32)


def restrict(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """Returns logits [B, V] with −∞ for tokens excluded by top-k and top-p; of equal logits the lower token wins."""
    if sampling.top_k is not None:
        order = jnp.argsort(-logits, axis=-1, stable=True)
        rank = jnp.argsort(order, axis=-1)
        logits = jnp.where(rank < min(sampling.top_k, logits.shape[-1]), logits, -jnp.inf)
    if sampling.top_p is not None:
        order = jnp.argsort(-logits, axis=-1, stable=True)
        probabilities = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        rank = jnp.argsort(order, axis=-1)
        kept = jnp.take_along_axis(before < sampling.top_p, rank, axis=-1)
        logits = jnp.where(kept, logits, -jnp.inf)
    return logits
