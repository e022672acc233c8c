"""One training step, which maps a state and a batch to a new state and metrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from palmetto.model.experts.router import Routing
from palmetto.model.tuning import Tuning
from palmetto.parallel.compiler import compiler_options
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.training import optimization
from palmetto.training.step import loss_scale as loss_scales
from palmetto.training.step import state as states
from palmetto.training.step.context import Context, make_context
from palmetto.training.step.gradient import LEAVES, BatchSums, spread_leaves, sum_gradients
from palmetto.training.step.loss import Batch
from palmetto.training.step.reductions import global_norm
from palmetto.training.step.state import State


class Metrics(NamedTuple):
    """Holds what a step reports: float32 scalars, a bool, and two fields that are None for some models."""

    loss: jax.Array
    """The mean cross-entropy of the batch in nats per token, without z-loss."""
    z: jax.Array
    """The mean of log² Z, where Z is the softmax normalizer."""
    grad_norm: jax.Array
    """The global norm of the gradient before clipping."""
    parameter_norm: jax.Array
    """The global norm of the parameters after the step."""
    finite: jax.Array
    """True if the update was applied."""

    routing: Routing | None
    """Statistics of the routers: means over the batch, stacked over the layers that have experts."""
    loss_scale: jax.Array | None
    """The factor of the loss; None unless activations are float16."""


TrainStep = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]


def make_step(recipe: Recipe, tuning: Tuning, sharding: Sharding | None = None) -> TrainStep:
    """Returns the compiled step of a recipe: (state, batch [leaves, micro_batch, M + 1], learning rate) → new state.

    The state is donated and sharded as in `initial_state`. Every device receives the whole batch and takes its own
    leaves. If the loss or a gradient holds a NaN or Inf, the old parameters and optimizer state are selected; an update
    multiplied by 0 would not do, since 0 · NaN is NaN.
    """
    sharding = sharding or Sharding(recipe)
    context, state_specs = make_context(recipe, tuning, sharding), states.specifications(recipe, sharding)

    def step(state: State, batch: Batch, learning_rate: jax.Array) -> tuple[State, Metrics]:
        count = batch.tokens.shape[0]

        def on_device(state: State, spread: Batch, target_count: jax.Array | None, rate: jax.Array) -> Any:
            scale = loss_scales.factor(state.loss_scale)
            sums = sum_gradients(context, state.parameters, spread, count=count, scale=scale, target_count=target_count)
            return update(context, state, sums, count, rate)

        in_specs = (state_specs, LEAVES, PartitionSpec(), PartitionSpec())
        run = sharding.on_mesh(on_device, in_specs, (state_specs, PartitionSpec()))
        spread, target_count = spread_leaves(batch, sharding), mean_target_count(batch)
        result: tuple[State, Metrics] = run(state, spread, target_count, learning_rate)
        return result

    return jax.jit(step, donate_argnums=0, compiler_options=compiler_options(tuning.platform))


def mean_target_count(batch: Batch) -> jax.Array | None:
    """Returns the mean number of scored tokens in a leaf, or None if all tokens are scored."""
    return None if batch.scored is None else jnp.sum(batch.scored) / batch.tokens.shape[0]


def update(
    context: Context, state: State, sums: BatchSums, count: int, learning_rate: jax.Array
) -> tuple[State, Metrics]:
    """Returns the state after a batch of `count` leaves with these sums, and the metrics of the step."""
    recipe, tuning, sharding, zero = context
    training, spreads, scale = recipe.training, sharding.spreads, loss_scales.factor(state.loss_scale)
    partition = zero.own_partition(state.parameters)
    # The number of leaves is a power of two, so that the division is exact.
    gradients, losses = jax.tree.map(lambda total: total / count, sums)
    _, pull_back = jax.vjp(context.arrange, partition)
    (gradients,) = pull_back(gradients)
    gradients = {name: g / scale for name, g in gradients.items() if not sharding.table[name].frozen}
    grad_norm = global_norm(gradients, spreads)
    if training.clip is not None:
        shrink = jnp.minimum(1.0, training.clip / grad_norm)
        gradients = jax.tree.map(lambda g: g * shrink, gradients)
    finite = jnp.isfinite(losses.objective) & jnp.isfinite(grad_norm)
    partition, moments = optimization.step(
        training.optimizer,
        gradients,
        state.optimizer,
        partition,
        spreads,
        learning_rate=learning_rate,
        finite=finite,
        native=tuning.native,
    )
    loss_scale = state.loss_scale
    if loss_scale is not None:
        loss_scale = loss_scales.update(training.loss_scale, loss_scale, finite)
    metrics = Metrics(
        losses.cross_entropy,
        losses.z,
        grad_norm,
        global_norm(partition, spreads),
        finite,
        losses.routing,
        None if state.loss_scale is None else scale,
    )
    return State(zero.gather_partitions(partition), moments, loss_scale), metrics
