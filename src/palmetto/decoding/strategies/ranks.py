"""Ranks tokens by their logits."""

import jax
import jax.numpy as jnp


def ranks(logits: jax.Array) -> jax.Array:
    """Returns the place of each token among the logits [R, V] in falling order; of equals the lower token is first."""
    return _places(jnp.argsort(-logits, axis=-1, stable=True))


def before(logits: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns the probability of all tokens [R, V] whose keys [R, V] are lower, of equals the lower token first."""
    order = jnp.argsort(keys, axis=-1, stable=True)
    sorted_ = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order, axis=-1)
    reached = jnp.cumsum(sorted_, axis=-1) - sorted_
    return jnp.take_along_axis(reached, _places(order), axis=-1)


def _places(order: jax.Array) -> jax.Array:
    """Returns the place of each token in an order of all tokens [R, V]."""
    places = jnp.broadcast_to(jnp.arange(order.shape[-1], dtype=order.dtype), order.shape)
    return jnp.put_along_axis(jnp.zeros_like(order), order, places, axis=-1, inplace=False)
