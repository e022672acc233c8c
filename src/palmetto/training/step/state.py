"""The training state that a step updates, and its sharding over a mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from palmetto.model.weights import Parameters, draw
from palmetto.parallel.compiler import options_for_once
from palmetto.parallel.sharding import Axes, Sharding, manual
from palmetto.recipe import Recipe
from palmetto.training import optimization
from palmetto.training.optimization import OptimizerState
from palmetto.training.step import loss_scale as loss_scales
from palmetto.training.step.loss_scale import LossScaleState


class State(NamedTuple):
    """Holds the parameters, the optimizer state and the loss scale, all that a step updates."""

    parameters: Parameters
    optimizer: OptimizerState
    loss_scale: LossScaleState | None
    """The dynamic loss scale; None unless activations are float16."""


def initial_state(recipe: Recipe, sharding: Sharding | None = None) -> State:
    """Returns the state before the first step, drawn from the recipe's seed and sharded over the mesh."""
    sharding = sharding or Sharding(recipe)
    where, options = places(recipe, sharding), options_for_once(jax.default_backend())
    state: State = jax.jit(lambda: _draw(recipe, sharding), out_shardings=where, compiler_options=options)()
    return state


def _draw(recipe: Recipe, sharding: Sharding) -> State:
    parameters = draw(sharding.table, recipe.training.seed)
    optimizer = optimization.make(recipe.training.optimizer, sharding.table, sharding.spreads)
    scaled = recipe.model.activations == "float16"
    loss_scale = loss_scales.initial(recipe.training.loss_scale) if scaled else None
    return State(parameters, optimizer.init(parameters), loss_scale)


def shapes(recipe: Recipe, sharding: Sharding | None = None) -> State:
    """Returns the state as shapes and types, with shardings if a mesh is given; no array is allocated."""
    drawn: State = jax.eval_shape(lambda: _draw(recipe, Sharding(recipe)))
    if sharding is None:
        return drawn
    there = places(recipe, sharding)
    placed: State = jax.tree.map(
        lambda shape, place: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place), drawn, there
    )
    return placed


def places(recipe: Recipe, sharding: Sharding) -> Any:
    """Returns a State of the NamedShardings that the state has between steps."""
    return _by_axes(recipe, sharding, sharding.place)


def specifications(recipe: Recipe, sharding: Sharding) -> Any:
    """Returns a State of PartitionSpecs, as `jax.shard_map` takes them."""
    return _by_axes(recipe, sharding, manual)


def _by_axes(recipe: Recipe, sharding: Sharding, make: Callable[[Axes], Any]) -> Any:
    """Returns a State whose leaves are `make` of the mesh axes that each array's dimensions are divided over."""
    moments = {
        moment: {name: make(sharding.moment(declared.axes)) for name, declared in arrays.items()}
        for moment, arrays in optimization.declare(recipe.training.optimizer, sharding.table).items()
    }
    parameters = {name: make(axes) for name, axes in sharding.at_rest.items()}
    scaled = recipe.model.activations == "float16"
    return State(parameters, OptimizerState(make(()), moments), LossScaleState(make(()), make(())) if scaled else None)
