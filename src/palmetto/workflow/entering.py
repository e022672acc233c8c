"""Entering the environment of a run, which must be settled before JAX is imported."""

import os
from collections.abc import Sequence
from typing import Any

from palmetto.host import environment
from palmetto.native import library
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment
from palmetto.training import surroundings
from palmetto.workflow.progress import Say


def enter(run: RunDirectory, say: Say, recipe: Recipe) -> dict[str, Any]:
    """Prepares this process for a run before JAX is imported, and returns the record of the environment here.

    It reports what differs from the recorded environment, and writes no file.
    """
    environment.prepare(recipe.training.threads, read_environment(run.environment), recipe.mesh.devices)
    if os.environ.get("JAX_PLATFORMS") == "cpu" and library.will_compile():
        say("compiling the kernels for this processor, once: a minute or a few")
    here = environment.record(recipe.mesh_record, recipe.inelastic)
    if text := surroundings.difference(run, here):
        say(text)
    return here


def elsewhere(run: RunDirectory, recipe: Recipe) -> list[str]:
    """Returns how the environment here, prepared for `recipe`, differs from the one that the run recorded."""
    recorded = read_environment(run.environment)
    return (
        environment.differences(recorded, environment.record(recipe.mesh_record, recipe.inelastic)) if recorded else []
    )


def enter_to_read(run: RunDirectory, say: Say, overrides: Sequence[str] = ()) -> Recipe:
    """Prepares this process to use a run without training it, as for sampling or evaluation, and returns the recipe.

    The recipe is for one device, or for the mesh that `overrides` ask for, whatever mesh the run has.
    """
    recorded, recipe = read_environment(run.environment), run.recipe_to_read(overrides)
    environment.prepare(recipe.training.threads, recorded, recipe.mesh.devices)
    layout = recorded.get("layout") if recorded else None
    if text := surroundings.difference(run, environment.record(layout)):
        say(text)
    return recipe
