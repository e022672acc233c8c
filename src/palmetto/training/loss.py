"""Token cross-entropy with z-loss, a few positions' logits at a time."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.decoder import Rematerialize, hidden_states, logits
from palmetto.model.layout import Arranged, Layout
from palmetto.model.products import in_float32, transposed
from palmetto.recipe import Model


class Losses(NamedTuple):
    """Means over tokens, float32 scalars."""

    objective: jax.Array
    """cross_entropy + z_loss · z, the one that is differentiated."""
    cross_entropy: jax.Array
    """Nats a token."""
    z: jax.Array
    """log² Z, Z the softmax's normalizer."""


def token_losses(
    arranged: Arranged,
    windows: jax.Array,
    model: Model,
    layout: Layout,
    *,
    z_loss: float = 0.0,
    rematerialize: Rematerialize = "nothing",
) -> Losses:
    """Mean losses of predicting each next token of windows [B, T + 1] of int32; only `objective` has a derivative."""
    states = hidden_states(arranged, windows[:, :-1], model, layout, rematerialize)
    rows, targets = states.reshape(-1, states.shape[-1]), windows[:, 1:].reshape(-1)
    sums = _summed_losses(rows, arranged.embedding, targets, z_loss, layout.logit_rows)
    objective, *reported = (total / rows.shape[0] for total in sums)
    return Losses(objective, *map(jax.lax.stop_gradient, reported))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _summed_losses(
    states: jax.Array, embedding: jax.Array, targets: jax.Array, z_loss: float, logit_rows: int
) -> Losses:
    """Losses summed over states [N, D] against targets [N].

    The derivative of the objective is formed with the loss, while a block's logits are at hand: they are neither kept
    nor computed twice.
    """
    losses, _ = _pass(states, embedding, targets, z_loss, logit_rows, with_gradient=False)
    return losses


def _pass(
    states: jax.Array, embedding: jax.Array, targets: jax.Array, z_loss: float, logit_rows: int, with_gradient: bool
) -> tuple[Losses, tuple[jax.Array, jax.Array]]:
    cross_entropy, z = jnp.float32(0), jnp.float32(0)
    d_states, d_transposed = [], jnp.zeros(embedding.shape[::-1], jnp.float32)
    for start in range(0, states.shape[0], logit_rows):
        rows, wanted = states[start : start + logit_rows], targets[start : start + logit_rows, None]
        scores = logits(embedding, rows)
        highest = jnp.max(scores, axis=-1, keepdims=True)
        exponentials = jnp.exp(scores - highest)
        normalizer = jnp.sum(exponentials, axis=-1, keepdims=True)
        log_z = highest + jnp.log(normalizer)
        cross_entropy += jnp.sum(log_z - jnp.take_along_axis(scores, wanted, axis=-1))
        z += jnp.sum(jnp.square(log_z))
        if with_gradient:
            is_target = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) == wanted
            d_scores = exponentials * ((1 + 2 * z_loss * log_z) / normalizer) - is_target
            d_scores = d_scores.astype(states.dtype)
            d_states.append(d_scores @ embedding.astype(states.dtype))
            d_transposed += in_float32(transposed(rows), d_scores)
    gradient = (jnp.concatenate(d_states), d_transposed.T) if with_gradient else (states, embedding)
    return Losses(cross_entropy + z_loss * z, cross_entropy, z), gradient


def _forward(
    states: jax.Array, embedding: jax.Array, targets: jax.Array, z_loss: float, logit_rows: int
) -> tuple[Losses, tuple[jax.Array, jax.Array]]:
    return _pass(states, embedding, targets, z_loss, logit_rows, with_gradient=True)


def _backward(
    z_loss: float, logit_rows: int, gradient: tuple[jax.Array, jax.Array], d: Losses
) -> tuple[jax.Array, jax.Array, None]:
    d_states, d_embedding = gradient
    return d.objective.astype(d_states.dtype) * d_states, d.objective * d_embedding, None


_summed_losses.defvjp(_forward, _backward)
