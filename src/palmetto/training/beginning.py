"""The state before the first step: drawn from the seed, or the parameters of the run that fine-tuning begins with."""

from pathlib import Path

import jax

from palmetto.errors import UserError
from palmetto.model.adapters import merged, without_adapters
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.finetuning import Finetuning
from palmetto.runs.directory import RunDirectory
from palmetto.runs.manifest import Manifest, read_manifest
from palmetto.runs.register import completed, folder_name
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
    parameters: Parameters = jax.device_put(base, {name: places[name] for name in base})
    return state._replace(parameters=state.parameters | parameters)


def check_base(begun: Finetuning) -> Manifest:
    """Returns the manifest of the checkpoint that fine-tuning begins with.

    Raises UserError if it is not there, or another one is.
    """
    run = RunDirectory(Path(begun.base))
    if not run.recipe_file.is_file():
        raise UserError(f"finetuning.base={begun.base}: no run there; expected the directory where it lies now")
    steps = completed(run.checkpoints)
    if begun.step not in steps:
        there = ", ".join(map(str, steps)) or "none"
        raise UserError(f"finetuning.base={begun.base}: no checkpoint of step {begun.step}; there are {there}")
    manifest = read_manifest(run.checkpoints / folder_name(begun.step) / "manifest.json", begun.step)
    if manifest.parameters != begun.parameters:
        raise UserError(
            f"finetuning.base={begun.base}: its step {begun.step} has the parameters {manifest.parameters}; this run "
            f"begins with {begun.parameters}"
        )
    if not run.recipe.continues(manifest.recipe):
        raise UserError(f"{run.recipe_file}: altered since checkpoint {begun.step} was trained; undo that")
    return manifest


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
