"""Model FLOPs utilization (MFU, PaLM, appendix B), the rate of a training relative to the peak of its devices."""

from palmetto.files import write_json
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import read_environment
from palmetto.training.flops import device_peak, flops_per_token, mesh_peak


def peak_of(run: RunDirectory, recipe: Recipe) -> float:
    """Returns the peak FLOP/s that the MFU is relative to: the one in the recipe, or that of its devices.

    The peak of one device is determined once per run and recorded with the environment, so that the MFU does not jump
    when a run resumes; the number of devices may change at each resume.
    """
    if (stated := recipe.training.peak_flops) is not None:
        return stated
    recorded = read_environment(run.environment) or {}
    if "device_peak_flops" not in recorded:
        recorded["device_peak_flops"] = device_peak(recipe)
        write_json(run.environment, recorded)
    return mesh_peak(recipe, recorded["device_peak_flops"])


def utilization(recipe: Recipe, rate: float, peak: float) -> float:
    """Returns the MFU at `rate` tokens of text per second, which examples may turn into more positions."""
    positions = rate * recipe.model_length / recipe.tokens.sequence_length
    return positions * flops_per_token(recipe) / peak
