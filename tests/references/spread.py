"""Computes the loss and the gradient of a batch on a recipe's mesh, for comparison with one device."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding, manual
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import Mesh
from palmetto.recipe.model import Model
from palmetto.training import optimization
from palmetto.training.step import state as states
from palmetto.training.step.context import make_context
from palmetto.training.step.gradient import LEAVES, spread_leaves, sum_gradients
from palmetto.training.step.loss import Batch, Losses
from palmetto.training.step.state import State
from palmetto.training.step.update import Metrics, make_step, mean_target_count
from tests.references import catalogue
from tests.references.quickly import QUICKLY

VOCABULARY, LENGTH, LEAF_COUNT = 260, 16, 4


class Taken(NamedTuple):
    """Holds means over a batch."""

    losses: Losses
    gradients: dict[str, Any]


def make_recipe(model: Model, **training: Any) -> Recipe:
    """Returns a recipe with `LEAF_COUNT` leaves of two sequences in a batch."""
    return Recipe.model_validate(
        {
            "name": "spread",
            "tokens": {"vocabulary_size": VOCABULARY, "sequence_length": LENGTH},
            "model": model.model_dump(),
            "training": {"steps": 1, "batch_size": 2 * LEAF_COUNT, "micro_batch": 2, "z_loss": 0.1, **training},
        }
    )


def on(recipe: Recipe, **mesh: Any) -> Recipe:
    """Returns the recipe on a mesh of these values; raises the same errors as reading a recipe."""
    return Recipe.model_validate(recipe.model_dump() | {"mesh": Mesh(**mesh).model_dump()})


def some_batch(recipe: Recipe, seed: int = 0) -> Batch:
    shape = (LEAF_COUNT, 2, recipe.model_length + 1)
    return Batch(np.random.default_rng(seed).integers(VOCABULARY, size=shape, dtype=np.int32))  # type: ignore[arg-type]


def some_state(recipe: Recipe, sharding: Sharding) -> State:
    """Returns parameters drawn like the catalogue's, none of them one or zero, and zero moments, placed on the mesh."""
    drawn: Parameters = catalogue.draw(recipe.model, recipe.model_vocabulary, 0)  # type: ignore[assignment]
    moments = jax.eval_shape(optimization.make(recipe.training.optimizer, sharding.table, sharding.spreads).init, drawn)
    state = State(drawn, jax.tree.map(lambda moment: np.zeros(moment.shape, moment.dtype), moments), None)
    placed: State = jax.device_put(state, states.places(recipe, sharding))
    return placed


def compile_gradient(recipe: Recipe, tuning: Tuning, batch: Batch) -> tuple[jax.stages.Compiled, tuple[State, Batch]]:
    """Returns the compiled program of a batch's means on the recipe's mesh, and its arguments."""
    sharding = Sharding(recipe)
    context, state_specs = make_context(recipe, tuning, sharding), states.specifications(recipe, sharding)

    def on_device(state: State, leaves: Batch, target_count: jax.Array | None) -> Any:
        scale = jnp.float32(1)
        sums = sum_gradients(
            context, state.parameters, leaves, count=LEAF_COUNT, scale=scale, target_count=target_count
        )
        sums = jax.tree.map(lambda total: total / LEAF_COUNT, sums)
        _, pull_back = jax.vjp(context.arrange, context.zero.own_partition(state.parameters))
        return Taken(sums.losses, pull_back(sums.gradients)[0])

    def run(state: State, batch: Batch) -> Taken:
        everywhere = PartitionSpec()
        out_specs = Taken(everywhere, {name: manual(axes) for name, axes in sharding.updated.items()})  # type: ignore[arg-type]
        mapped = sharding.on_mesh(on_device, (state_specs, LEAVES, everywhere), out_specs)
        taken: Taken = mapped(state, spread_leaves(batch, sharding), mean_target_count(batch))
        return taken

    arguments = some_state(recipe, sharding), sharding.everywhere(batch)
    return jax.jit(run, compiler_options=QUICKLY).lower(*arguments).compile(), arguments


def take_step(recipe: Recipe, tuning: Tuning, batch: Batch, rate: float) -> tuple[State, Metrics]:
    """Returns the result of one step on the recipe's mesh."""
    sharding = Sharding(recipe)
    step = jax.jit(make_step(recipe, tuning, sharding), compiler_options=QUICKLY)
    batch, on_device = sharding.everywhere((batch, jnp.float32(rate)))
    result: tuple[State, Metrics] = jax.device_get(step(some_state(recipe, sharding), batch, on_device))
    return result


def take_gradient(recipe: Recipe, tuning: Tuning, batch: Batch | None = None) -> Taken:
    """Returns the means of a batch on the recipe's mesh."""
    compiled, arguments = compile_gradient(recipe, tuning, batch or some_batch(recipe))
    taken: Taken = jax.device_get(compiled(*arguments))
    return taken


def check_same(given: Taken, expected: Taken) -> None:
    """Asserts equality within float32 rounding, of losses, routing and each gradient's distance relative to its norm.

    A gradient that is zero up to rounding, as of a bias that shifts all scores of a query, has no useful norm.
    """
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6), given.losses, expected.losses)
    assert given.gradients.keys() == expected.gradients.keys()
    all_together = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in expected.gradients.values()))
    for name, gradient in expected.gradients.items():
        error = np.linalg.norm(given.gradients[name] - gradient)
        assert error < 3e-6 * max(np.linalg.norm(gradient), all_together / 100), name
