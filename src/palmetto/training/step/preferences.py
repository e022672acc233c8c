"""Direct preference optimization (arXiv 2305.18290, equation 7), on rows that hold a chosen and a rejected answer."""

import jax
import jax.numpy as jnp

from palmetto.model.decoder import logits
from palmetto.model.layout import Arranged
from palmetto.model.tuning import Tuning
from palmetto.training.step.blocks import Arrays, scan_blocks


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

    def of_block(_: None, block: Arrays) -> tuple[None, jax.Array]:
        rows, wanted = block
        scores = logits(arranged.unembedding, rows, tuning.native)
        normalizer = jax.nn.logsumexp(scores, axis=-1)
        likelihood = jnp.take_along_axis(scores, wanted[:, None], axis=-1)[:, 0] - normalizer
        return None, jnp.stack([likelihood, normalizer], axis=1)

    arrays = states.reshape(-1, states.shape[-1]), targets.reshape(-1)
    _, results = scan_blocks(of_block, None, arrays, tuning.logit_rows)
    likelihood, normalizer = (results[:, column].reshape(sign.shape) for column in (0, 1))
    margin = jnp.sum(sign * likelihood, axis=1)
    return margin, jnp.sum(jnp.square(normalizer) * jnp.abs(sign)) / jnp.sum(jnp.abs(sign))


def preference_losses(margin: jax.Array, reference: jax.Array, beta: float) -> tuple[jax.Array, jax.Array]:
    """Returns −log σ(β · (margin − reference)), and its derivative with respect to the margin."""
    excess = beta * (margin - reference)
    return jax.nn.softplus(-excess), -beta * jax.nn.sigmoid(-excess)
