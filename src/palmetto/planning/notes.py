"""Notes on a plan: where its program differs from that of `train`, and which costs are estimated."""

from palmetto.planning.network.topology import Topology
from palmetto.planning.program import splash
from palmetto.planning.program.hlo import Program
from palmetto.recipe import Recipe

_GPU = (
    "the program is XLA's for CPUs, with one virtual device for each GPU: attention and fusions are not those of a "
    "GPU, nothing is asynchronous, and a GPU's compiler is likely to need less memory and less time"
)
_RAGGED = (
    "a CPU's program multiplies every row of a ragged product with all of a device's experts: the FLOPs of dropless "
    "experts are far above those of a GPU"
)
_SPLASH = "attention's kernel (splash) states no cost: its FLOPs are counted from its blocks, at the chip's peak"


def notes(recipe: Recipe, on: Topology, program: Program) -> list[str]:
    """Returns the notes that apply, each a sentence without a full stop."""
    found = []
    if on.is_gpu:
        found.append(_GPU)
        if recipe.model.experts and recipe.model.experts.capacity_factor is None:
            found.append(_RAGGED)
    if splash.is_in(program):
        found.append(_SPLASH)
    return found
