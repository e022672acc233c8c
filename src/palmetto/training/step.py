"""One training step: state and batch in, state and metrics out; everything that changes bits is here."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model import parameters as parameter
from palmetto.model.layout import Arranged, Layout, arrange
from palmetto.model.parameters import Parameters
from palmetto.recipe import Recipe
from palmetto.training import optimizer as optimizers
from palmetto.training.loss import Losses, token_losses
from palmetto.training.optimizer import OptimizerState
from palmetto.training.reductions import global_norm, sum_over_leaves


class State(NamedTuple):
    """What a step changes."""

    parameters: Parameters
    optimizer: OptimizerState


class Metrics(NamedTuple):
    """What a step reports: float32 scalars and one bool."""

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


Step = Callable[[State, jax.Array, jax.Array], tuple[State, Metrics]]


def stacked_names(recipe: Recipe) -> frozenset[str]:
    """The parameters whose leading axis counts layers."""
    table = parameter.specifications(recipe.model, recipe.tokens.vocabulary_size)
    return frozenset(name for name, specification in table.items() if specification.stacked)


def initial_state(recipe: Recipe) -> State:
    """The state before the first step, drawn from the recipe's seed."""
    parameters = parameter.initialize(recipe.model, recipe.tokens.vocabulary_size, recipe.training.seed)
    optimizer = optimizers.make(recipe.training.optimizer, stacked_names(recipe))
    return State(parameters, jax.jit(optimizer.init)(parameters))


def make_step(recipe: Recipe, layout: Layout) -> Step:
    """Compiles the step of a recipe: (state, windows [leaves, micro_batch, T + 1] of int32, learning rate) → new state.

    The state is donated. Where the loss or the gradients hold a NaN or Inf, the new state is the old one to the bit:
    selected, since 0 · NaN is NaN.
    """
    training, stacked = recipe.training, stacked_names(recipe)
    optimizer = optimizers.make(training.optimizer, stacked)

    def objective(arranged: Arranged, windows: jax.Array) -> tuple[jax.Array, Losses]:
        losses = token_losses(
            arranged, windows, recipe.model, layout, z_loss=training.z_loss, rematerialize=training.rematerialize
        )
        return losses.objective, losses

    def step(state: State, windows: jax.Array, learning_rate: jax.Array) -> tuple[State, Metrics]:
        parameters = state.parameters
        arranged, pull_back = jax.vjp(lambda p: arrange(p, recipe.model, layout), parameters)

        def leaf(windows: jax.Array) -> tuple[Arranged, Losses]:
            return jax.grad(objective, has_aux=True)(arranged, windows)

        # The number of leaves is a power of two, so that the division is exact whatever the tree's upper levels hold.
        sums = sum_over_leaves(leaf, windows)
        gradients, losses = jax.tree.map(lambda total: total / windows.shape[0], sums)
        (gradients,) = pull_back(gradients)
        grad_norm = global_norm(gradients, stacked)
        if training.clip is not None:
            shrink = jnp.minimum(1.0, training.clip / grad_norm)
            gradients = jax.tree.map(lambda g: g * shrink, gradients)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, parameters, learning_rate=learning_rate)
        moved = State({name: parameters[name] + updates[name] for name in parameters}, optimizer_state)
        finite = jnp.isfinite(losses.objective) & jnp.isfinite(grad_norm)
        state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, state)
        norm = global_norm(state.parameters, stacked)
        return state, Metrics(losses.cross_entropy, losses.z, grad_norm, norm, finite)

    return jax.jit(step, donate_argnums=0)
