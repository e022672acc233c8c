"""Direct preference optimization (arXiv 2305.18290, equation 7), on rows that hold a chosen and a rejected answer."""

import jax
import jax.numpy as jnp

from palmetto.model.decoder import logits
from palmetto.model.layout import Arranged
from palmetto.model.tuning import Tuning


def signs(scored: jax.Array | None, starts: jax.Array | None) -> jax.Array:
    """Returns +1 for the predicted tokens of the chosen answer, −1 for those of the rejected, else 0: float32 [B, M].

    The chosen one stands first in its row. The arguments are those of a batch, [B, M + 1] and [B, M].
    """
    assert scored is not None, "what is predicted is marked"
    assert starts is not None, "answers stand apart"
    of_targets = jnp.concatenate([starts[:, 1:], starts[:, -1:]], axis=1)
    return jnp.where(scored[:, 1:], jnp.where(of_targets == 0, 1.0, -1.0), 0.0)


def margins(
    states: jax.Array, arranged: Arranged, targets: jax.Array, sign: jax.Array, tuning: Tuning
) -> tuple[jax.Array, jax.Array]:
    """Returns of each row log p(chosen) − log p(rejected), float32 [B], and the mean of log² Z of predicted tokens.

    Z is the softmax normalizer. Final states are [B, M, D], targets [B, M], `sign` the result of `signs`.
    """
    rows, targets = states.reshape(-1, states.shape[-1]), targets.reshape(-1, 1)
    likelihoods, normalizers = [], []
    for start in range(0, rows.shape[0], tuning.logit_rows):
        block = slice(start, start + tuning.logit_rows)
        scores = logits(arranged.unembedding, rows[block], tuning.native)
        normalizers.append(jax.nn.logsumexp(scores, axis=-1))
        likelihoods.append(jnp.take_along_axis(scores, targets[block], axis=-1)[:, 0] - normalizers[-1])
    squares = jnp.square(jnp.concatenate(normalizers).reshape(sign.shape)) * jnp.abs(sign)
    margin = jnp.sum(sign * jnp.concatenate(likelihoods).reshape(sign.shape), axis=1)
    return margin, jnp.sum(squares) / jnp.sum(jnp.abs(sign))


def preference_losses(margin: jax.Array, reference: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
    """Returns −log σ(β · (margin − reference)), and its derivative with respect to the margin."""
    excess = beta * (margin - reference)
    return jax.nn.softplus(-excess), -beta * jax.nn.sigmoid(-excess)
