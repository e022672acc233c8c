"""The validation loss: mean cross-entropy over held-out windows, without z-loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.model.layout import Layout, arrange
from palmetto.model.parameters import Parameters
from palmetto.recipe import Recipe
from palmetto.tokens.store import TokenStore
from palmetto.training.loss import token_losses

_BATCH = 8


def make_validation(recipe: Recipe, layout: Layout, store: TokenStore) -> Callable[[Parameters], float]:
    """Returns a function from parameters to nats a token over the first training.validation_windows of the store."""
    count = min(store.windows, recipe.training.validation_windows)
    groups = np.array_split(np.arange(count, dtype=np.int64), range(_BATCH, count, _BATCH))

    @jax.jit
    def losses(parameters: Parameters, windows: jax.Array) -> jax.Array:
        # A window at a time, so that the figure does not depend on how windows are grouped.
        arranged = arrange(parameters, recipe.model, layout)
        one = jax.lax.map(lambda w: token_losses(arranged, w[None], recipe.model, layout).cross_entropy, windows)
        return jnp.asarray(one)

    def validate(parameters: Parameters) -> float:
        return float(np.mean(np.concatenate([losses(parameters, store.read(group)) for group in groups], dtype=float)))

    return validate
