"""Estimates time and memory of a mesh from shapes alone. The search uses it to choose what to compile."""

import math
from typing import NamedTuple

from palmetto.parallel.sharding import Axes, Sharding
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.recipe.model import GATED
from palmetto.training import optimization
from palmetto.training.flops import flops_per_token

FLOAT32, HALF = 4, 2
_REMATERIALIZED = {"nothing": 0.0, "projections": 0.05, "block": 1 / 3}
"""The approximate FLOPs of rematerialization, as a share of all FLOPs without it."""


class Estimate(NamedTuple):
    """The estimate of one mesh, in bytes and seconds of one chip and one step."""

    memory: int
    compute: float
    """The seconds of the matrix units at their peak."""
    within: float
    """The seconds of the slice's network for weights, gradients and activations."""
    across: float
    """The seconds of the network between slices."""

    @property
    def seconds(self) -> float:
        """The seconds of a step if the network within a slice overlaps with computation as far as possible."""
        return max(self.compute, self.within) + self.across


def estimate(recipe: Recipe, on: Topology, sequences: int) -> Estimate:
    """Returns the estimate of a recipe's mesh for a batch of `sequences`."""
    mesh, training = recipe.mesh, recipe.training
    sharding = Sharding(recipe)
    leaves = sequences // training.micro_batch // (mesh.pod * mesh.data * mesh.expert)
    compute = flops_per_token(recipe) * sequences * recipe.model_length / on.chips / on.chip.flops
    layers = _bytes(sharding, sharding.at_rest, "layers only") // FLOAT32 * (mesh.data if mesh.zero == 3 else 1)
    narrow = HALF if recipe.model.activations != "float32" else FLOAT32
    bandwidth = _bandwidths(recipe, on)
    gathers = 2 * leaves * layers * narrow if mesh.zero == 3 else 0
    reductions = layers * FLOAT32 * (leaves if mesh.zero == 3 or training.reproducible == "elastic" else 1)
    weights = (gathers + reductions) / bandwidth["data"] if mesh.data > 1 else 0.0
    own = _bytes(sharding, sharding.updated, "all")
    across = 2 * (mesh.pod - 1) / mesh.pod * own / on.dimensions[0].bandwidth if mesh.pod > 1 else 0.0
    return Estimate(
        memory=_memory(recipe, sharding, layers, leaves),
        compute=compute * (1 + _REMATERIALIZED[training.rematerialize]),
        within=weights + _activations_sent(recipe, leaves) / bandwidth["model"],
        across=across,
    )


def _memory(recipe: Recipe, sharding: Sharding, layers: int, leaves: int) -> int:
    """Returns the bytes of parameters, moments, gradients, saved activations, a layer's gathered weights and logits."""
    model, training, mesh = recipe.model, recipe.training, recipe.mesh
    parameters, updated = _bytes(sharding, sharding.at_rest, "all"), _bytes(sharding, sharding.updated, "all")
    kept = sum(
        _divided(math.prod(moment.shape), sharding, sharding.moment(moment.axes))
        for arrays in optimization.declare(training.optimizer, sharding.table).values()
        for moment in arrays.values()
    )
    gradients = updated if mesh.zero >= 2 else _bytes(sharding, sharding.updated, "all") * mesh.data
    gradients *= 2 + 2 * (leaves.bit_length() - 1)  # a leaf's, the result, and a pair for each level of the tree
    half = HALF if model.activations != "float32" else FLOAT32
    positions = training.micro_batch * recipe.model_length // mesh.sequence
    heads = (model.heads + 2 * model.key_value_heads) * model.query_size
    inner = (1 + (model.feedforward in GATED)) * model.feedforward_size
    saved = {
        "block": model.d_model,
        "projections": model.d_model + (heads + inner) // mesh.model,
        "nothing": 8 * model.d_model + 3 * (heads + inner) // mesh.model,
    }
    activations = positions * saved[training.rematerialize] * half * model.layers // mesh.stage
    layer = layers // (model.layers // mesh.stage) * (2 * half + FLOAT32) if mesh.zero == 3 else 0
    logits = 2 * min(positions, 2048) * recipe.model_vocabulary * FLOAT32
    table = recipe.model_vocabulary * model.d_model // mesh.model * (half + FLOAT32)
    return parameters + kept + gradients + activations + layer + logits + table


def _bytes(sharding: Sharding, axes: dict[str, Axes], what: str) -> int:
    """Returns the bytes of float32 parameters on one device, of all or only of those in layers."""
    total = 0
    for name, of in sharding.table.items():
        if what == "all" or of.stack:
            total += _divided(of.size, sharding, axes[name])
    return total


def _divided(size: int, sharding: Sharding, axes: Axes) -> int:
    """Returns the bytes of the part that one device holds of a float32 array of `size` elements."""
    return FLOAT32 * size // math.prod(sharding.sizes[axis] for axis in axes if axis)


def _activations_sent(recipe: Recipe, leaves: int) -> float:
    """Returns the bytes of activations that a chip receives in a step.

    Along `model` each layer's input is gathered and its output summed, forward and backward. Along `expert` tokens go
    to their experts and back.
    """
    model, mesh = recipe.model, recipe.mesh
    half = HALF if model.activations != "float32" else FLOAT32
    positions = recipe.training.micro_batch * recipe.model_length // mesh.sequence
    whole = positions * model.d_model * half * leaves * model.layers / mesh.stage
    blocks = 1 if model.block == "parallel" else 2
    tensor = 4 * blocks * whole * (mesh.model - 1) / mesh.model
    experts = 0.0
    if model.experts and mesh.expert > 1:
        experts = 4 * model.experts.top * whole / model.experts.every * (mesh.expert - 1) / mesh.expert
    return tensor + experts


def _bandwidths(recipe: Recipe, on: Topology) -> dict[str, float]:
    """Returns the bytes/s that a chip can receive along an axis: `model` uses one dimension of the slice, `data` the
    others."""
    inner = on.dimensions[1:]
    if on.is_gpu:
        between, within = inner
        whole = recipe.mesh.model <= within.size
        return {
            "data": between.bandwidth if between.size > 1 else within.bandwidth,
            "model": within.bandwidth if whole else between.bandwidth,
        }
    links = [dimension.bandwidth * (2 if dimension.wiring == "ring" else 1) for dimension in inner]
    if recipe.mesh.model == 1:
        return {"data": sum(links), "model": links[0]}
    return {"data": sum(links[1:]) or links[0], "model": links[0]}
