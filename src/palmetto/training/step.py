"""One training step: state and batch in, state and metrics out; everything that changes bits is here."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model import parameters as parameter
from palmetto.model.layout import Arranged, Layout, arrange
from palmetto.model.parameters import Parameters, Table
from palmetto.model.router import Routing
from palmetto.recipe import Recipe
from palmetto.training import loss_scale as loss_scales
from palmetto.training import optimizer as optimizers
from palmetto.training.loss import Batch, Losses, token_losses
from palmetto.training.loss_scale import LossScaleState
from palmetto.training.optimizer import OptimizerState
from palmetto.training.reductions import global_norm, sum_over_leaves


class State(NamedTuple):
    """What a step changes."""

    parameters: Parameters
    optimizer: OptimizerState
    loss_scale: LossScaleState | None
    """Where activations are float16."""


class Metrics(NamedTuple):
    """What a step reports: float32 scalars and one bool, and, of a model that has them, two more things."""

    loss: jax.Array
    """Mean cross-entropy of the batch in nats a token, without z-loss."""
    z: jax.Array
    """Mean log² Z."""
    grad_norm: jax.Array
    """Global norm before clipping."""
    parameter_norm: jax.Array
    """Global norm after the step."""
    finite: jax.Array
    """Whether the update was applied."""

    routing: Routing | None
    """What the routers did, means over the batch, stacked over the layers that have experts."""
    loss_scale: jax.Array | None
    """What the loss was multiplied by, where activations are float16."""


Step = Callable[[State, Batch, jax.Array], tuple[State, Metrics]]


def parameter_table(recipe: Recipe) -> Table:
    """The parameters of a recipe's model."""
    return parameter.specifications(recipe.model, recipe.model_vocabulary)


def _stacks(recipe: Recipe) -> dict[str, int]:
    return {name: specification.stack for name, specification in parameter_table(recipe).items()}


def initial_state(recipe: Recipe) -> State:
    """The state before the first step, drawn from the recipe's seed."""
    parameters = parameter.initialize(recipe.model, recipe.model_vocabulary, recipe.training.seed)
    optimizer = optimizers.make(recipe.training.optimizer, _stacks(recipe))
    scaled = recipe.model.activations == "float16"
    loss_scale = loss_scales.initial(recipe.training.loss_scale) if scaled else None
    return State(parameters, jax.jit(optimizer.init)(parameters), loss_scale)


def make_step(recipe: Recipe, layout: Layout) -> Step:
    """Compiles the step of a recipe: (state, batch [leaves, micro_batch, M + 1], learning rate) → new state.

    The state is donated. Where the loss or the gradients hold a NaN or Inf, the new state is the old one to the bit:
    selected, since 0 · NaN is NaN.
    """
    training, stacks = recipe.training, _stacks(recipe)
    optimizer = optimizers.make(training.optimizer, stacks)

    def step(state: State, batch: Batch, learning_rate: jax.Array) -> tuple[State, Metrics]:
        parameters = state.parameters
        arranged, pull_back = jax.vjp(lambda p: arrange(p, recipe.model, layout), parameters)
        # The number of leaves is a power of two, so that the division is exact whatever the tree's upper levels hold.
        leaves = batch.tokens.shape[0]
        predicted = None if batch.scored is None else jnp.sum(batch.scored) / leaves
        scale = jnp.float32(1) if state.loss_scale is None else state.loss_scale.scale

        def objective(arranged: Arranged, leaf: Batch) -> tuple[jax.Array, Losses]:
            losses = token_losses(
                arranged,
                leaf,
                recipe.model,
                layout,
                z_loss=training.z_loss,
                rematerialize=training.rematerialize,
                embedding_gradient=training.embedding_gradient,
                predicted=predicted,
            )
            return scale * losses.objective, losses

        sums = sum_over_leaves(lambda leaf: jax.grad(objective, has_aux=True)(arranged, leaf), batch)
        gradients, losses = jax.tree.map(lambda total: total / leaves, sums)
        (gradients,) = pull_back(gradients)
        gradients = jax.tree.map(lambda g: g / scale, gradients)
        grad_norm = global_norm(gradients, stacks)
        if training.clip is not None:
            shrink = jnp.minimum(1.0, training.clip / grad_norm)
            gradients = jax.tree.map(lambda g: g * shrink, gradients)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, parameters, learning_rate=learning_rate)
        finite = jnp.isfinite(losses.objective) & jnp.isfinite(grad_norm)
        moved = {name: parameters[name] + updates[name] for name in parameters}
        parameters, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (moved, optimizer_state), (parameters, state.optimizer)
        )
        norm = global_norm(parameters, stacks)
        loss_scale = state.loss_scale
        if loss_scale is not None:
            loss_scale = loss_scales.update(training.loss_scale, loss_scale, finite)
        metrics = Metrics(
            losses.cross_entropy,
            losses.z,
            grad_norm,
            norm,
            finite,
            losses.routing,
            None if state.loss_scale is None else scale,
        )
        return State(parameters, optimizer_state, loss_scale), metrics

    return jax.jit(step, donate_argnums=0)
