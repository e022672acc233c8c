"""Entering the environment of a run, which is settled before JAX is imported."""

from collections.abc import Sequence
from typing import Any

from palmetto.host import environment
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment
from palmetto.training import surroundings
from palmetto.workflow.progress import Say


def enter(run: RunDirectory, say: Say, recipe: Recipe) -> dict[str, Any]:
    """Prepares this process for a run before JAX is imported, and says what of its record cannot be had here.

    Writes nothing. Returns the record of the environment here.
    """
    environment.prepare(recipe.training.threads, read_environment(run.environment), recipe.mesh.devices)
    here = environment.record(recipe.layout)
    if text := surroundings.difference(run, here):
        say(text)
    return here


def elsewhere(run: RunDirectory, recipe: Recipe) -> list[str]:
    """Returns what of the run's recorded environment cannot be had here; this process is prepared for `recipe`."""
    recorded = read_environment(run.environment)
    return environment.differences(recorded, environment.record(recipe.layout)) if recorded else []


def enter_to_read(run: RunDirectory, say: Say, overrides: Sequence[str] = ()) -> Recipe:
    """Prepares this process for what does not train: sampling, digests, evaluation, on one device or as `overrides`
    have it, whatever mesh the run has. Returns the recipe."""
    recorded, recipe = read_environment(run.environment), run.recipe_to_read(overrides)
    environment.prepare(recipe.training.threads, recorded, recipe.mesh.devices)
    layout = recorded.get("layout") if recorded else None
    if text := surroundings.difference(run, environment.record(layout)):
        say(text)
    return recipe
