"""What a reader of a plan has to know of it: where it is not the program of `train`, or where a cost is not stated."""

from palmetto.planning.network.topology import Topology
from palmetto.planning.program import splash
from palmetto.planning.program.hlo import Program
from palmetto.recipe import Recipe

_GPU = (
    "the program is XLA's for CPUs, as many virtual ones as there are GPUs: attention and fusions are not a GPU's, "
    "nothing in it is asynchronous, and a GPU's compiler is likely to need less memory and less time"
)
_RAGGED = (
    "a CPU's program takes every row of a ragged product through all of a device's experts: the FLOPs of dropless "
    "experts are far above those of a GPU"
)
_SPLASH = "attention's kernel (splash) states no cost: its FLOPs are counted from its blocks, at the chip's peak"


def notes(recipe: Recipe, on: Topology, program: Program) -> list[str]:
    """Sentences without a stop."""
    found = []
    if on.is_gpu:
        found.append(_GPU)
        if recipe.model.experts and recipe.model.experts.capacity_factor is None:
            found.append(_RAGGED)
    if splash.is_in(program):
        found.append(_SPLASH)
    return found
