"""Plans a recipe on a topology: compiles and simulates the step of every batch size in its ramp."""

from collections.abc import Callable
from typing import Any

from palmetto.errors import UserError
from palmetto.planning import energy
from palmetto.planning.compile import compile_step, require_compiler
from palmetto.planning.describe import division
from palmetto.planning.network.topology import Topology
from palmetto.planning.predict import predict
from palmetto.planning.search.meshes import candidates, layouts, settings
from palmetto.recipe import Recipe


def plan(recipe: Recipe, on: Topology, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the plan as plain values, those of the largest batch at the top, and those of every batch in `batches`.

    At the top, `fits` says whether all batches fit, `memory` is that of the batch that needs most, and
    `compile_seconds` is the sum. A recipe without a mesh gets the best mesh by estimate. Raises UserError if the
    recipe's mesh does not match the topology.
    """
    require_compiler(on)
    recipe = with_mesh(recipe, on, say)
    batches = []
    for sequences in sorted({size for _, size in recipe.training.batch_ramp}):
        say(f"compiling the step of {sequences:,} sequences for {on} ({division(settings(recipe))})")
        batches.append(predict(recipe, on, sequences, compile_step(recipe, on, sequences)))
    largest = {"mfu": None, "hfu": None} | batches[-1]
    return {
        "recipe": recipe.name,
        "topology": describe_topology(on),
        **settings(recipe),
        "reproducible": recipe.training.reproducible,
        **largest,
        "fits": all(batch["fits"] for batch in batches),
        "memory": max((batch["memory"] for batch in batches), key=lambda memory: int(memory["peak"])),
        "compile_seconds": sum(batch["compile_seconds"] for batch in batches),
        "energy": energy.there(recipe, on, batches),
        "batches": batches,
    }


def search(recipe: Recipe, on: Topology, say: Callable[[str], None]) -> dict[str, Any]:
    """Returns the best layouts for a recipe and a topology as plain values, best first, in `layouts`."""
    require_compiler(on)
    found = layouts(recipe, on, say)
    return {"recipe": recipe.name, "topology": describe_topology(on), "layouts": found}


def describe_topology(on: Topology) -> dict[str, Any]:
    """Returns the topology and the published figures of its chips as plain values."""
    figures = {name: value for name, value in on.chip._asdict().items() if name != "title"}
    return {"name": on.name, "slices": on.slices, "chips": on.chips, "chip": on.chip.title, "figures": figures}


def with_mesh(recipe: Recipe, on: Topology, say: Callable[[str], None]) -> Recipe:
    """Returns the recipe with its mesh, or with the best mesh by estimate if its own is a single device.

    Raises UserError if the mesh's devices are not as many as the chips, or its pods not as many as the slices.
    """
    mesh = recipe.mesh
    if mesh.devices == on.chips and mesh.pod == on.slices:
        return recipe
    best = candidates(recipe, on, meshes_alone=True)[0].recipe
    if mesh.devices == 1:
        say(f"the recipe has no mesh; the likeliest is {division(settings(best))}")
        return best
    changed = (axis for axis, size in best.mesh.sizes.items() if size != mesh.sizes[axis])
    wanted = " ".join(f"mesh.{axis}={best.mesh.sizes[axis]}" for axis in changed)
    if mesh.devices == on.chips:
        raise UserError(f"mesh.pod={mesh.pod}: pods are slices, and {on} has {on.slices}; {wanted} would do")
    axes, _, _ = division(settings(recipe)).partition(",")
    raise UserError(f"mesh: {axes} is {mesh.devices} devices, and {on} has {on.chips}; {wanted} would do")
