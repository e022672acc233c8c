"""The margins of rows with a chosen and a rejected answer, by a whole model: for validation, and as the reference."""

import math
from collections.abc import Callable

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import PartitionSpec

from palmetto.model.decoder import Forward
from palmetto.model.layout import with_ends
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding, manual
from palmetto.recipe import Recipe
from palmetto.training.step.context import make_context
from palmetto.training.step.loss import Batch
from palmetto.training.step.preferences import margins, signs

_TAKERS = ("pod", "data", "expert")
"""The mesh axes along which devices take different rows."""

Margins = Callable[[Parameters, Batch], npt.NDArray[np.float32]]
"""(parameters, examples of n rows) → log p(chosen) − log p(rejected) of each, float32 [n]."""


def make_margins(recipe: Recipe, tuning: Tuning, sharding: Sharding) -> Margins:
    """Returns a function that computes each row by itself, so that its bits do not depend on how rows are batched."""
    context = make_context(recipe, tuning, sharding, validates=True)
    forward, zero = Forward(recipe.model, tuning, recipe.mesh), context.zero

    def on_device(parameters: Parameters, examples: Batch) -> jax.Array:
        weights = zero.gather_weights(context.arrange(zero.own_partition(parameters)))
        ends = with_ends(weights, zero.gather_layer)

        def one(example: Batch) -> jax.Array:
            row = jax.tree.map(lambda array: array[None], example)
            states, _ = forward.states(ends, row.tokens[:, :-1], sequences=row.sequences, fetch=zero.gather_layer)
            return margins(states, ends, row.tokens[:, 1:], signs(row.scored, row.starts), tuning)[0][0]

        return jax.lax.map(one, examples)

    there = {name: manual(axes) for name, axes in sharding.at_rest.items()}
    each = PartitionSpec(_TAKERS)
    compiled = jax.jit(sharding.on_mesh(on_device, (there, each), each), out_shardings=sharding.place())
    takers = math.prod(sharding.sizes[axis] for axis in _TAKERS)

    def of_rows(parameters: Parameters, examples: Batch) -> npt.NDArray[np.float32]:
        count = len(examples.tokens)
        places = np.arange(-(-count // takers) * takers) % count  # rows that only fill up do not count
        padded = jax.tree.map(lambda array: array[places], examples)
        found: npt.NDArray[np.float32] = jax.device_get(compiled(parameters, sharding.everywhere(padded)))[:count]
        return found

    return of_rows
