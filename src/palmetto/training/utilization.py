"""Model FLOPs utilization (MFU, PaLM, appendix B): the rate of a training as a share of what its devices could do."""

from palmetto.files import write_json
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment
from palmetto.training.flops import device_peak, flops_per_token, mesh_peak


def peak_of(run: RunDirectory, recipe: Recipe) -> float:
    """Returns the FLOP/s that the MFU is taken against: the recipe's, or those of its devices.

    Those of one device are measured once a run and recorded with its environment, so that its curve has no steps at a
    resume; how many devices the mesh has may change at each.
    """
    if (stated := recipe.training.peak_flops) is not None:
        return stated
    recorded = read_environment(run.environment) or {}
    if "device_peak_flops" not in recorded:
        recorded["device_peak_flops"] = device_peak()
        write_json(run.environment, recorded)
    return mesh_peak(recipe, recorded["device_peak_flops"])


def utilization(recipe: Recipe, rate: float, peak: float) -> float:
    """Returns the MFU at `rate` tokens of the text a second, of which examples may make more positions."""
    positions = rate * recipe.model_length / recipe.tokens.sequence_length
    return positions * flops_per_token(recipe) / peak
