"""Searches for the best layouts of a recipe on a topology: estimates all valid ones, and compiles the best few."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from palmetto.errors import RunStopped, UserError
from palmetto.planning.compile import compile_step
from palmetto.planning.describe import division
from palmetto.planning.network.topology import Topology
from palmetto.planning.predict import predict
from palmetto.planning.search.estimate import Estimate, estimate
from palmetto.recipe import Recipe

FINALISTS = 3
"""The number of layouts that are compiled."""


class Candidate(NamedTuple):
    """A recipe with one layout, and its estimate."""

    recipe: Recipe
    estimate: Estimate


def candidates(recipe: Recipe, on: Topology, *, meshes_alone: bool = False) -> list[Candidate]:
    """Returns every valid layout, fastest first by estimate; those that fit a chip's memory come before the others.

    The axes data, model and, with experts, expert vary, and so do mesh.zero and training.rematerialize unless
    `meshes_alone`. Raises UserError if no layout is valid.
    """
    sequences, found = recipe.training.batch_ramp[-1][1], []
    for changed in _layouts(recipe, on, meshes_alone):
        values = recipe.model_dump()
        values["mesh"] |= changed["mesh"]
        values["training"] |= changed["training"]
        try:
            candidate = Recipe.model_validate(values)
        except ValueError:  # an axis does not divide its dimensions
            continue
        found.append(Candidate(candidate, estimate(candidate, on, sequences)))
    if not found:
        raise UserError(
            f"{recipe.name}: no mesh of {on.chips} devices ({on}) divides its layers, heads and batch; more devices "
            "along model, or a larger batch, would do"
        )
    return sorted(found, key=lambda one: (one.estimate.memory > on.chip.usable, one.estimate.seconds))


def _layouts(recipe: Recipe, on: Topology, meshes_alone: bool) -> Iterator[dict[str, dict[str, Any]]]:
    inside = on.chips // on.slices
    experts = recipe.model.experts.count if recipe.model.experts else 1
    for model, expert in itertools.product(_divisors(inside), _divisors(experts)):
        data, rest = divmod(inside, model * expert)
        if rest or data & (data - 1):
            continue
        choices = itertools.product((3, 1), ("nothing", "projections", "block"))
        for zero, rematerialize in [(recipe.mesh.zero, recipe.training.rematerialize)] if meshes_alone else choices:
            mesh = {"pod": on.slices, "data": data, "expert": expert, "model": model, "stage": 1, "sequence": 1}
            yield {"mesh": mesh | {"zero": zero if data > 1 else 0}, "training": {"rematerialize": rematerialize}}


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def layouts(recipe: Recipe, on: Topology, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Compiles and simulates the most promising layouts; returns their settings and predictions, best first.

    Raises RunStopped if none fits.
    """
    tried, sequences = [], recipe.training.batch_ramp[-1][1]
    for candidate in _finalists(candidates(recipe, on)):
        say(f"compiling {division(settings(candidate.recipe))}")
        try:
            values = predict(candidate.recipe, on, sequences, compile_step(candidate.recipe, on, sequences))
        except RunStopped as stopped:
            say(str(stopped))
            continue
        tried.append({**settings(candidate.recipe), **values, "estimate": candidate.estimate._asdict()})
    if not tried:
        raise RunStopped(f"{recipe.name} on {on}: none of the likeliest layouts could be compiled")
    best = sorted(tried, key=lambda one: (not one["fits"], one.get("step_seconds", 0.0)))
    if not best[0]["fits"]:
        capacity = f"{on.chip.usable / 2**30:.1f} GiB a chip"
        raise RunStopped(f"{recipe.name} on {on}: none of the {len(best)} likeliest layouts fits {capacity}")
    return best


def _finalists(sieved: list[Candidate]) -> list[Candidate]:
    """Returns the first candidates with different meshes."""
    chosen: dict[tuple[int, ...], Candidate] = {}
    for candidate in sieved:
        chosen.setdefault(tuple(candidate.recipe.mesh.sizes.values()), candidate)
    return list(chosen.values())[:FINALISTS]


def settings(recipe: Recipe) -> dict[str, Any]:
    """Returns the settings that the search varies, as plain values."""
    mesh = {axis: size for axis, size in recipe.mesh.sizes.items() if size > 1}
    return {"mesh": mesh, "zero": recipe.mesh.zero, "rematerialize": recipe.training.rematerialize}
