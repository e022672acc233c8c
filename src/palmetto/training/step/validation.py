"""The validation loss: mean cross-entropy over held-out windows, without z-loss."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from palmetto.model.decoder import embed, final_norm, local_positions, through_layers
from palmetto.model.layout import Fetch, Layer, arrange, with_ends
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Sharding, apart, manual
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe
from palmetto.tokens.store import TokenStore
from palmetto.training.step.execution import make_batch
from palmetto.training.step.gradient import split_sequences
from palmetto.training.step.loss import Batch, state_losses
from palmetto.training.step.pipelined import Layers

_AT_ONCE = 8
_TAKERS = ("pod", "data", "stage", "expert")
"""The axes along which devices take windows of their own."""

_BEYOND_TRAINING = np.int64(1) << 61
"""Where held-out windows stand in the order of the run: where no training sequence comes."""


WindowLosses = Callable[[Parameters, Batch], tuple[jax.Array, jax.Array]]
"""(parameters, examples of n windows) → of each its mean cross-entropy [n], and how many tokens that is of [n]."""


def make_validation(
    recipe: Recipe, tuning: Tuning, sharding: Sharding, store: TokenStore, eod: int
) -> Callable[[Parameters], float]:
    """Returns a function from parameters to nats a token over the first training.validation_windows of the store.

    Windows become examples of the recipe's objective, the same each time; `eod` ends their targets.
    """
    count = min(store.windows, recipe.training.validation_windows)
    at_once = max(_AT_ONCE, math.prod(sharding.sizes[axis] for axis in _TAKERS))
    losses = jax.jit(window_losses(recipe, tuning, sharding), out_shardings=sharding.place())

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


def window_losses(recipe: Recipe, tuning: Tuning, sharding: Sharding) -> WindowLosses:
    """The function of the losses of windows, of which there are a multiple of the devices that take some.

    Each is computed by itself, so that the figure does not depend on how windows are grouped or spread over devices.
    Devices that hold different layers take different windows, and fetch from each other a layer at a time.
    """
    model, mesh = recipe.model, recipe.mesh
    zero, stages = Zero(sharding, model.activations), mesh.stage

    def through_stages(layers: Layers, x: jax.Array, prefix: jax.Array | None) -> jax.Array:
        def through_stage(x: jax.Array, stage: jax.Array) -> tuple[jax.Array, None]:
            fetch = _gather_from(stage, sharding, zero.gather_layer) if stages > 1 else zero.gather_layer
            return through_layers(layers, x, model, tuning, mesh=mesh, prefix=prefix, fetch=fetch)[0], None

        return jax.lax.scan(through_stage, x, jnp.arange(stages))[0]

    def on_device(parameters: Parameters, examples: Batch) -> tuple[jax.Array, jax.Array]:
        weights = zero.gather_weights(arrange(zero.own_partition(parameters), model, tuning, mesh))
        ends = with_ends(weights, zero.gather_layer) if zero.gather_layer else weights

        def one(example: Batch) -> tuple[jax.Array, jax.Array]:
            scored = jnp.asarray(example.tokens.shape[0] - 1) if example.scored is None else jnp.sum(example.scored)
            own = split_sequences(jax.tree.map(lambda array: array[None], example), mesh.sequence)
            inputs = own.tokens[:, :-1]
            x = embed(ends, inputs, local_positions(inputs.shape[1], mesh), model)
            states = final_norm(ends, through_stages(weights.layers, x, own.prefix), model)
            losses = state_losses(states, ends, own, tuning, target_count=scored.astype(jnp.float32))
            return collectives.all_reduce(losses.cross_entropy, sharding.group("sequence")), scored

        return jax.lax.map(one, examples)

    there = {name: manual(axes) for name, axes in sharding.at_rest.items()}
    each = PartitionSpec(_TAKERS)
    return sharding.on_mesh(on_device, (there, each), (each, each))


def _gather_from(stage: jax.Array, sharding: Sharding, gather_layer: Fetch | None) -> Fetch:
    """Returns the function that gathers a layer which the devices at one place along the axis stage hold."""
    along = sharding.group("stage")

    def theirs(name: str, array: jax.Array) -> jax.Array:
        array = jnp.where(jax.lax.axis_index(along.axis) == stage, array, 0)
        return apart(lambda array: jax.lax.psum(array, along.axis), array, sharding.arranged_axes(name, array))

    def gather(layer: Layer) -> Layer:
        layer = {name: theirs(name, array) for name, array in layer.items()}
        return gather_layer(layer) if gather_layer else layer

    return gather
