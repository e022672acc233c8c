"""One training step: state and batch in, state and metrics out; everything that changes bits is here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from palmetto.model.experts.router import Routing
from palmetto.model.layout import Layout, arrange
from palmetto.parallel.compiler import compiler_options
from palmetto.parallel.sharding import Sharding
from palmetto.parallel.zero import Zero
from palmetto.recipe import Recipe
from palmetto.training import optimization
from palmetto.training.step import loss_scale as loss_scales
from palmetto.training.step import state as states
from palmetto.training.step.gradient import Sums, meet, spread_leaves, sum_gradients
from palmetto.training.step.loss import Batch
from palmetto.training.step.reductions import global_norm
from palmetto.training.step.state import State


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


def make_step(recipe: Recipe, layout: Layout, sharding: Sharding | None = None) -> Step:
    """Compiles the step of a recipe: (state, batch [leaves, micro_batch, M + 1], learning rate) → new state.

    The state is donated. Where the loss or the gradients hold a NaN or Inf, the new state is the old one to the bit:
    selected, since 0 · NaN is NaN. The state lies on the mesh as `initial_state` has it; of the batch, of which every
    device is given all, each takes its leaves.
    """
    halves = Halves(recipe, layout, sharding or Sharding(recipe))

    def step(state: State, batch: Batch, learning_rate: jax.Array) -> tuple[State, Metrics]:
        count = batch.tokens.shape[0]

        def on_device(state: State, spread: Batch, predicted: jax.Array | None, rate: jax.Array) -> Any:
            return halves.update(state, halves.gradients(state, spread, count, predicted), count, rate)

        in_specs = (halves.state_specs, LEAVES, PartitionSpec(), PartitionSpec())
        run = halves.sharding.on_mesh(on_device, in_specs, (halves.state_specs, PartitionSpec()))
        result: tuple[State, Metrics] = run(state, halves.spread(batch), scored_a_leaf(batch), learning_rate)
        return result

    return jax.jit(step, donate_argnums=0, compiler_options=compiler_options(layout.platform))


def scored_a_leaf(batch: Batch) -> jax.Array | None:
    """The tokens that a batch predicts, a leaf in the mean; None where it predicts all."""
    return None if batch.scored is None else jnp.sum(batch.scored) / batch.tokens.shape[0]


LEAVES = PartitionSpec("pod", None, "data", "expert")
"""Where the leaves of a batch lie once `spread_leaves` has ordered them."""


class Halves:
    """The two halves of a step, gradients and update, written for one device of the mesh."""

    def __init__(self, recipe: Recipe, layout: Layout, sharding: Sharding) -> None:
        self.recipe, self.layout, self.sharding = recipe, sharding.layout(layout), sharding
        # A CPU's compiler rounds a leaf otherwise where collectives stand among its operations (docs/determinism.md).
        # On accelerators nothing is promised that would be worth the memory of whole weights and gradients.
        elastic, alone = recipe.training.reproducible == "elastic", sharding.sizes["stage"] == 1
        whole_leaves = elastic and alone and layout.platform == "cpu"
        self.zero = Zero(sharding, recipe.model, whole_leaves=whole_leaves)
        self.optimizer = optimization.make(recipe.training.optimizer, sharding.table, sharding.spreads)
        self.state_specs = states.specifications(recipe, sharding)

    def gradients(self, state: State, spread: Batch, count: int, predicted: jax.Array | None) -> Sums:
        """The gradients' and losses' sums over the `count` leaves of the batch, of which this device has `spread`:
        what it has of them, where devices share sequences, experts or layers."""
        leaves = jax.tree.map(lambda array: array.reshape(-1, *array.shape[4:]), spread)
        arranged = arrange(self.zero.owned(state.parameters), self.recipe.model, self.layout)
        return sum_gradients(
            self.recipe,
            self.layout,
            self.sharding,
            self.zero,
            arranged,
            leaves,
            count=count,
            scale=_scale(state),
            predicted=predicted,
        )

    def update(self, state: State, sums: Sums, count: int, learning_rate: jax.Array) -> tuple[State, Metrics]:
        """The state after the sums over `count` leaves, and what is reported of the step."""
        training, spreads, scale = self.recipe.training, self.sharding.spreads, _scale(state)
        sums = meet(sums, self.sharding, self.zero)
        owned = self.zero.owned(state.parameters)
        # The number of leaves is a power of two, so that the division is exact whatever the tree's upper levels hold.
        gradients, losses = jax.tree.map(lambda total: total / count, sums)
        _, pull_back = jax.vjp(lambda p: arrange(p, self.recipe.model, self.layout), owned)
        (gradients,) = pull_back(gradients)
        gradients = jax.tree.map(lambda g: g / scale, gradients)
        grad_norm = global_norm(gradients, spreads)
        if training.clip is not None:
            shrink = jnp.minimum(1.0, training.clip / grad_norm)
            gradients = jax.tree.map(lambda g: g * shrink, gradients)
        updates, optimizer = self.optimizer.update(gradients, state.optimizer, owned, learning_rate=learning_rate)
        finite = jnp.isfinite(losses.objective) & jnp.isfinite(grad_norm)
        moved = {name: owned[name] + updates[name] for name in owned}
        parameters, optimizer = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (moved, optimizer), (owned, state.optimizer)
        )
        loss_scale = state.loss_scale
        if loss_scale is not None:
            loss_scale = loss_scales.update(training.loss_scale, loss_scale, finite)
        metrics = Metrics(
            losses.cross_entropy,
            losses.z,
            grad_norm,
            global_norm(parameters, spreads),
            finite,
            losses.routing,
            None if state.loss_scale is None else scale,
        )
        return State(self.zero.at_rest(parameters), optimizer, loss_scale), metrics

    def spread(self, batch: Batch) -> Batch:
        """A batch's leaves where LEAVES finds them."""
        return spread_leaves(batch, self.sharding)


def _scale(state: State) -> jax.Array:
    return jnp.float32(1) if state.loss_scale is None else state.loss_scale.scale
