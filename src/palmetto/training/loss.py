"""Token cross-entropy with z-loss, a few positions' logits at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.decoder import Rematerialize, hidden_states, logits
from palmetto.model.layout import Arranged, Layout
from palmetto.recipe import Model


class Losses(NamedTuple):
    """Means over tokens, float32 scalars."""

    cross_entropy: jax.Array
    """Nats a token."""
    z: jax.Array
    """log² Z, Z the softmax's normalizer."""


def token_losses(
    arranged: Arranged, windows: jax.Array, model: Model, layout: Layout, rematerialize: Rematerialize = "nothing"
) -> Losses:
    """Mean losses of predicting each next token of windows [B, T + 1] of int32."""
    states = hidden_states(arranged, windows[:, :-1], model, layout, rematerialize)
    rows, targets = states.reshape(-1, states.shape[-1]), windows[:, 1:].reshape(-1)

    @jax.checkpoint
    def chunk(rows: jax.Array, targets: jax.Array) -> Losses:
        scores = logits(arranged, rows)
        log_z = jax.nn.logsumexp(scores, axis=-1)
        correct = jnp.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]
        return Losses(jnp.sum(log_z - correct), jnp.sum(jnp.square(log_z)))

    size = layout.logit_rows
    parts = [chunk(rows[i : i + size], targets[i : i + size]) for i in range(0, rows.shape[0], size)]
    return Losses(*(sum(terms) / rows.shape[0] for terms in zip(*parts, strict=True)))
