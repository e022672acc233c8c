"""Draws a token with a temperature, by a key that depends on the request alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Draw(NamedTuple):
    """Holds how each of R rows draws."""

    temperature: jax.Array
    """float32 [R]; 0 for rows that take the most probable token."""
    seeds: jax.Array
    """The halves of the seeds, uint32 [R, 2]."""
    choices: jax.Array
    """The numbers of the choices, int32 [R]."""
    positions: jax.Array
    """The positions of the drawn tokens, int32 [R]."""


def scale(logits: jax.Array, draw: Draw) -> jax.Array:
    """Returns logits [R, V] divided by the temperatures, the largest 0; those of rows without temperature stay."""
    below = logits - jnp.max(logits, axis=-1, keepdims=True)  # the largest is 0, whatever divides it
    temperature = jnp.maximum(draw.temperature, jnp.finfo(jnp.float32).tiny)[:, None]
    return jnp.where(draw.temperature[:, None] > 0, below / temperature, logits)


def drawn(logits: jax.Array, draw: Draw) -> jax.Array:
    """Returns int32 tokens [R], drawn from the distributions of logits [R, V]."""

    def noise(seed: jax.Array, choice: jax.Array, position: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(seed, impl="threefry2x32")
        return jax.random.gumbel(jax.random.fold_in(jax.random.fold_in(key, choice), position), logits.shape[1:])

    noises = jax.vmap(noise)(draw.seeds, draw.choices, draw.positions)
    return jnp.argmax(logits + noises, axis=-1).astype(jnp.int32)
