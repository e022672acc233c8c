"""The validation loss: mean cross-entropy over held-out windows, without z-loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from palmetto.model.layout import Layout, arrange
from palmetto.model.parameters import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import MANUAL, Sharding, manual
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe
from palmetto.tokens.store import TokenStore
from palmetto.training.execution import make_batch
from palmetto.training.gradient import leaf_losses
from palmetto.training.loss import Batch

_AT_ONCE = 8
_BEYOND_TRAINING = np.int64(1) << 61
"""Where held-out windows stand in the order of the run: where no training sequence comes."""


def make_validation(
    recipe: Recipe, layout: Layout, sharding: Sharding, store: TokenStore, eod: int
) -> Callable[[Parameters], float]:
    """Returns a function from parameters to nats a token over the first training.validation_windows of the store.

    Windows become examples of the recipe's objective, the same each time; `eod` ends their targets. Each is computed
    by itself, so that the figure does not depend on how windows are grouped or spread over devices.
    """
    count = min(store.windows, recipe.training.validation_windows)
    takers = ("pod", "data", "expert")
    at_once = max(_AT_ONCE, int(np.prod([sharding.sizes[axis] for axis in takers])))
    layout, zero, stage = sharding.layout(layout), Zero(sharding, recipe.model), sharding.group("stage")

    def on_device(parameters: Parameters, examples: Batch) -> tuple[jax.Array, jax.Array]:
        layers = {name for name, of in sharding.table.items() if of.stack}
        parameters = {n: collectives.gather(a, 0, stage) if n in layers else a for n, a in parameters.items()}
        weights = zero.whole(arrange(zero.owned(parameters), recipe.model, layout))

        def one(example: Batch) -> tuple[jax.Array, jax.Array]:
            alone = jax.tree.map(lambda array: array[None], example)
            scored = jnp.asarray(example.tokens.shape[0] - 1) if example.scored is None else jnp.sum(example.scored)
            losses = leaf_losses(recipe, layout, zero, weights, alone, scored.astype(jnp.float32))
            return collectives.all_reduce(losses.cross_entropy, sharding.group("sequence")), scored

        return jax.lax.map(one, examples)

    losses = jax.jit(on_device)
    if sharding.devices > 1:
        there = {name: manual(axes) for name, axes in sharding.at_rest.items()}
        each = PartitionSpec(takers)
        losses = jax.jit(
            jax.shard_map(
                on_device,
                mesh=sharding.mesh,
                in_specs=(there, each),
                out_specs=(each, each),
                axis_names=set(MANUAL),
                check_vma=False,
            ),
            out_shardings=sharding.place(),
        )

    def validate(parameters: Parameters) -> float:
        means, scored = [], []
        for start in range(0, count, at_once):
            windows = np.arange(start, start + at_once, dtype=np.int64)
            # The last ones are filled up with windows that do not count.
            batch = make_batch(recipe, store.read(windows % count), _BEYOND_TRAINING + windows % count, eod)
            of_batch = jax.device_get(losses(parameters, sharding.everywhere(batch)))
            means.append(of_batch[0][: count - start])
            scored.append(of_batch[1][: count - start])
        return float(np.average(np.concatenate(means, dtype=float), weights=np.concatenate(scored)))

    return validate
