"""The state before the first step: drawn from the seed, or the parameters of the run that fine-tuning begins with."""

from pathlib import Path

import jax

from palmetto.model.adapters import merged, without_adapters
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.finetuning import Finetuning
from palmetto.runs.directory import RunDirectory
from palmetto.training.base import check_base
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.step import state as states
from palmetto.training.step.state import State


def initial_state(recipe: Recipe, sharding: Sharding) -> State:
    """Returns the state before the first step, sharded over the mesh; the optimizer's state is always new.

    Raises UserError if fine-tuning begins with a run that has been moved or altered.
    """
    state = states.initial_state(recipe, sharding)
    if recipe.finetuning is None:
        return state
    base, places = _of_base(recipe, recipe.finetuning), states.places(recipe, sharding).parameters
    drawn = {name: state.parameters[name] for name in base}
    grown = jax.jit(_over, out_shardings={name: places[name] for name in base})
    parameters: Parameters = grown(drawn, base)
    return state._replace(parameters=state.parameters | parameters)


def _over(drawn: Parameters, base: Parameters) -> Parameters:
    """Returns the drawn parameters with the base's in place of their first rows.

    These are all rows, unless pieces have been added to the vocabulary.
    """
    return {name: jax.lax.dynamic_update_slice(array, base[name], (0,) * array.ndim) for name, array in drawn.items()}


def _of_base(recipe: Recipe, begun: Finetuning) -> Parameters:
    """Returns the parameters of the base, on the mesh of the recipe."""
    check_base(begun)
    run = RunDirectory(Path(begun.base))
    theirs = run.recipe.model_copy(update={"mesh": recipe.mesh})
    checkpoints = Checkpoints(run.checkpoints, parameter_table(theirs))
    checkpoints.manifest(begun.step)
    sharding = Sharding(theirs)
    found = checkpoints.restore(begun.step, states.shapes(theirs, sharding)).parameters
    return merged(found, without_adapters(sharding.table), theirs.model.lora)
