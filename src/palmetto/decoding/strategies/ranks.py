"""Ranks tokens by their logits."""

import jax
import jax.numpy as jnp


def ranks(logits: jax.Array) -> jax.Array:
    """Returns the place of each token among the logits [R, V] in falling order; of equals the lower token is first."""
    return jnp.argsort(jnp.argsort(-logits, axis=-1, stable=True), axis=-1)


def before(logits: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns the probability of all tokens [R, V] whose keys [R, V] are lower, of equals the lower token first."""
    order = jnp.argsort(keys, axis=-1, stable=True)
    sorted_ = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order, axis=-1)
    reached = jnp.cumsum(sorted_, axis=-1) - sorted_
    return jnp.take_along_axis(reached, jnp.argsort(order, axis=-1), axis=-1)
