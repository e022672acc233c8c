"""The validation loss: mean cross-entropy over held-out windows, without z-loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.model.layout import Layout, arrange
from palmetto.model.parameters import Parameters
from palmetto.recipe import Recipe
from palmetto.tokens.store import TokenStore
from palmetto.training.execution import make_batch
from palmetto.training.loss import Batch, token_losses

_BATCH = 8
_BEYOND_TRAINING = np.int64(1) << 61
"""Where held-out windows stand in the order of the run: where no training sequence comes."""


def make_validation(recipe: Recipe, layout: Layout, store: TokenStore, eod: int) -> Callable[[Parameters], float]:
    """Returns a function from parameters to nats a token over the first training.validation_windows of the store.

    Windows become examples of the recipe's objective, the same each time; `eod` ends their targets.
    """
    count = min(store.windows, recipe.training.validation_windows)
    groups = np.array_split(np.arange(count, dtype=np.int64), range(_BATCH, count, _BATCH))

    @jax.jit
    def losses(parameters: Parameters, batch: Batch) -> tuple[jax.Array, jax.Array]:
        # A window at a time, so that the figure does not depend on how windows are grouped.
        arranged = arrange(parameters, recipe.model, layout)

        def one(example: Batch) -> tuple[jax.Array, jax.Array]:
            alone = jax.tree.map(lambda array: array[None], example)
            scored = example.tokens.shape[0] - 1 if example.scored is None else jnp.sum(example.scored)
            return token_losses(arranged, alone, recipe.model, layout).cross_entropy, jnp.asarray(scored)

        return jax.lax.map(one, batch)

    def validate(parameters: Parameters) -> float:
        batches = (make_batch(recipe, store.read(group), _BEYOND_TRAINING + group, eod) for group in groups)
        means, scored = zip(*(losses(parameters, batch) for batch in batches), strict=True)
        return float(np.average(np.concatenate(means, dtype=float), weights=np.concatenate(scored)))

    return validate
