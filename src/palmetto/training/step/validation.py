"""The validation loss, the mean cross-entropy over held-out windows without z-loss."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import PartitionSpec

from palmetto.model.decoder import Forward, local_places
from palmetto.model.layout import Fetch, Layer, with_ends
from palmetto.model.sequences import Sequences
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Sharding, apart, manual
from palmetto.recipe import Recipe
from palmetto.recipe.objectives import PreferencesObjective
from palmetto.tokens.store import TokenStore
from palmetto.training.step.context import make_context
from palmetto.training.step.execution import make_batch
from palmetto.training.step.gradient import split_sequences
from palmetto.training.step.loss import Batch, state_losses
from palmetto.training.step.pipelined import Layers
from palmetto.training.step.preferences import preference_losses
from palmetto.training.step.reference import make_margins

_AT_ONCE = 8
_TAKERS = ("pod", "data", "stage", "expert")
"""The mesh axes along which devices take different windows."""

_BEYOND_TRAINING = np.int64(1) << 61
"""The first position of held-out windows in the order of the run, beyond that of any training sequence."""


WindowLosses = Callable[[Parameters, Batch], tuple[jax.Array, jax.Array]]
"""(parameters, examples of n windows) → mean cross-entropy [n] and number of scored tokens [n] of each window."""


def make_validation(
    recipe: Recipe,
    tuning: Tuning,
    sharding: Sharding,
    store: TokenStore,
    eod: int,
    reference: Callable[[Batch], npt.NDArray[np.float32]] | None = None,
) -> Callable[[Parameters], float]:
    """Returns a function from parameters to nats per token over the first training.validation_windows of the store.

    Windows become the same examples of the recipe's objective in every call; `eod` is the token that ends targets. With
    the objective of preferences the function returns its mean loss over rows, relative to `reference`.
    """
    count = min(store.windows, recipe.training.validation_windows)
    if reference is not None:
        return _of_preferences(recipe, tuning, sharding, store.read_stored(np.arange(count)), reference)
    at_once = max(_AT_ONCE, math.prod(sharding.sizes[axis] for axis in _TAKERS))
    losses = jax.jit(window_losses(recipe, tuning, sharding), out_shardings=sharding.place())

    def validate(parameters: Parameters) -> float:
        means, scored = [], []
        for start in range(0, count, at_once):
            windows = np.arange(start, start + at_once, dtype=np.int64)
            # The last batch is padded with windows that do not count.
            batch = make_batch(recipe, store.read_stored(windows % count), _BEYOND_TRAINING + windows % count, eod)
            of_batch = jax.device_get(losses(parameters, sharding.everywhere(batch)))
            means.append(of_batch[0][: count - start])
            scored.append(of_batch[1][: count - start])
        return float(np.average(np.concatenate(means, dtype=float), weights=np.concatenate(scored)))

    return validate


def _of_preferences(
    recipe: Recipe,
    tuning: Tuning,
    sharding: Sharding,
    rows: npt.NDArray[np.int32],
    reference: Callable[[Batch], npt.NDArray[np.float32]],
) -> Callable[[Parameters], float]:
    """Returns a function from parameters to the mean loss of preferences over stored rows [B, T + 1]."""
    objective, of_rows = recipe.training.objective, make_margins(recipe, tuning, sharding)
    assert isinstance(objective, PreferencesObjective), "preferences are relative to a reference"
    examples = make_batch(recipe, rows, np.arange(len(rows)), 0)
    expected = jnp.asarray(reference(examples))

    def validate(parameters: Parameters) -> float:
        losses, _ = preference_losses(jnp.asarray(of_rows(parameters, examples)), expected, objective.beta)
        return float(np.mean(losses, dtype=float))

    return validate


def window_losses(recipe: Recipe, tuning: Tuning, sharding: Sharding) -> WindowLosses:
    """Returns a function that computes the losses of windows, a multiple of the number of devices along `_TAKERS`.

    Each window is computed by itself, so that its loss does not depend on how windows are batched or distributed.
    Devices of different stages take different windows and gather layers from each other one at a time.
    """
    context = make_context(recipe, tuning, sharding, validates=True)
    mesh, zero = recipe.mesh, context.zero
    forward = Forward(recipe.model, tuning, mesh)

    def through_stages(layers: Layers, x: jax.Array, positions: jax.Array, sequences: Sequences) -> jax.Array:
        attend = forward.whole_sequences(sequences)

        def through_stage(x: jax.Array, stage: jax.Array) -> tuple[jax.Array, None]:
            fetch = _gather_from(stage, sharding, zero.gather_layer) if mesh.stage > 1 else zero.gather_layer
            return forward.through(layers, x, positions, attend, fetch=fetch)[0], None

        return jax.lax.scan(through_stage, x, jnp.arange(mesh.stage))[0]

    def on_device(parameters: Parameters, examples: Batch) -> tuple[jax.Array, jax.Array]:
        weights = zero.gather_weights(context.arrange(zero.own_partition(parameters)))
        ends = with_ends(weights, zero.gather_layer)

        def one(example: Batch) -> tuple[jax.Array, jax.Array]:
            scored = jnp.asarray(example.tokens.shape[0] - 1) if example.scored is None else jnp.sum(example.scored)
            own = split_sequences(jax.tree.map(lambda array: array[None], example), mesh.sequence)
            inputs = own.tokens[:, :-1]
            positions = own.sequences.positions(local_places(inputs.shape[1], mesh))
            x = forward.begin(ends, inputs, positions)
            states = forward.end(ends, through_stages(weights.layers, x, positions, own.sequences))
            losses = state_losses(states, ends, own, tuning, target_count=scored.astype(jnp.float32))
            return collectives.all_reduce(losses.cross_entropy, sharding.group("sequence")), scored

        return jax.lax.map(one, examples)

    there = {name: manual(axes) for name, axes in sharding.at_rest.items()}
    each = PartitionSpec(_TAKERS)
    return sharding.on_mesh(on_device, (there, each), (each, each))


def _gather_from(stage: jax.Array, sharding: Sharding, gather_layer: Fetch | None) -> Fetch:
    """Returns a function that gathers a layer from the devices at index `stage` of the axis stage."""
    along = sharding.group("stage")

    def theirs(name: str, array: jax.Array) -> jax.Array:
        array = jnp.where(jax.lax.axis_index(along.axis) == stage, array, 0)
        return apart(lambda array: jax.lax.psum(array, along.axis), array, sharding.arranged_axes(name, array))

    def gather(layer: Layer) -> Layer:
        layer = {name: theirs(name, array) for name, array in layer.items()}
        return gather_layer(layer) if gather_layer else layer

    return gather
