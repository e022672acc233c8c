"""Estimates the cost of a run before it is begun: hours, kWh and CO2e, on the machine at hand or on chips elsewhere."""

from typing import Any

import jax

from palmetto.host import environment, power
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.runs.files import EnergyUse
from palmetto.training import energy
from palmetto.training.flops import device_peak, mesh_peak

_UTILIZATION = 0.4
"""The model FLOPs utilization that is assumed where no step was timed or simulated."""


def here(recipe: Recipe, flops: float, rate: float | None = None) -> EnergyUse:
    """Returns what `flops` of training use on the devices of this process.

    rate: the FLOP/s that such a training has reached here; by default 40 % of the devices' peak. Nothing is known of a
    mesh with more devices than this machine has devices or cores.
    """
    machine = environment.record()
    if recipe.mesh.devices > max(jax.device_count(), machine["cores"] or 1):
        how = f"not known here: the mesh has {recipe.mesh.devices:,} devices; --topology predicts it for other machines"
        return energy.use(recipe.energy, recipe.mesh.devices, None, None, how)
    where = f"{rate / 1e9:,.0f} GFLOP/s, as measured here" if rate else ""
    if rate is None:
        peak = recipe.training.peak_flops or mesh_peak(recipe, device_peak(recipe))
        rate, where = _UTILIZATION * peak, f"{_UTILIZATION:.0%} of {peak / 1e9:,.0f} GFLOP/s here"
    chips, published = energy.drawn(recipe, machine["platform"], machine["device"], machine["cores"])
    return _estimate(recipe, chips, flops / rate, published, where)


def there(recipe: Recipe, on: Topology, batches: list[dict[str, Any]]) -> EnergyUse | None:
    """Returns what a run uses on a topology by its predicted steps, `batches`; None if one of them does not fit."""
    if not all("step_seconds" in batch for batch in batches):
        return None
    step = {batch["batch"]["sequences"]: float(batch["step_seconds"]) for batch in batches}
    ramp, steps = recipe.training.batch_ramp, recipe.training.steps
    ends = [start for start, _ in ramp[1:]] + [steps]
    total = sum(step[size] * max(0, min(end, steps) - start) for (start, size), end in zip(ramp, ends, strict=True))
    return _estimate(recipe, on.chips, total, power.watts_of(on.chip.title, 1), "predicted steps")


def _estimate(recipe: Recipe, chips: int, seconds: float, published: tuple[float, str] | None, where: str) -> EnergyUse:
    watts, source = energy.recipe_watts(recipe.energy, published)
    joules = None if watts is None else seconds * chips * watts
    return energy.use(recipe.energy, chips, seconds, joules, f"estimated from {source} and {where}")
