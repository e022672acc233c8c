"""What a mesh would take, from shapes alone: a sieve for the search, before anything is compiled."""

import math
from typing import NamedTuple

from palmetto.parallel.sharding import Axes, Sharding
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.recipe.model import GATED
from palmetto.recipe.training import Adafactor
from palmetto.training.flops import flops_per_token

FLOAT32, HALF = 4, 2
_AGAIN = {"nothing": 0.0, "projections": 0.05, "block": 1 / 3}
"""Forward FLOPs computed again, about, as a share of all."""


class Estimate(NamedTuple):
    """Of one mesh; bytes and seconds of one chip and one step."""

    memory: int
    compute: float
    """Seconds of the matrix units at their peak."""
    within: float
    """Seconds of the slice's network for weights, gradients and activations."""
    across: float
    """Seconds of the network between slices."""

    @property
    def seconds(self) -> float:
        """The network within a slice hidden as far as there is anything to hide it under."""
        return max(self.compute, self.within) + self.across


def estimate(recipe: Recipe, on: Topology, sequences: int) -> Estimate:
    """For a recipe's mesh and a batch, on accelerators.

    On CPUs an elastic run gathers weights once a step, not in every leaf, and holds them whole (docs/determinism.md).
    """
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
        compute=compute * (1 + _AGAIN[training.rematerialize]),
        within=weights + _activations_sent(recipe, leaves) / bandwidth["model"],
        across=across,
    )


def _memory(recipe: Recipe, sharding: Sharding, layers: int, leaves: int) -> int:
    """Parameters, moments, gradients, saved activations, one layer's weights whole, a block of logits."""
    model, training, mesh = recipe.model, recipe.training, recipe.mesh
    parameters, moments = _bytes(sharding, sharding.at_rest, "all"), _bytes(sharding, sharding.updated, "all")
    optimizer = training.optimizer
    kept = 2
    if isinstance(optimizer, Adafactor):
        kept = (optimizer.momentum > 0) + (not optimizer.factored)
    gradients = moments if mesh.zero >= 2 else _bytes(sharding, sharding.updated, "all") * mesh.data
    gradients *= 2 + 2 * (leaves.bit_length() - 1)  # a leaf's, what they become, and of each level of the tree a pair
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
    return parameters + kept * moments + gradients + activations + layer + logits + table


def _bytes(sharding: Sharding, axes: dict[str, Axes], what: str) -> int:
    """Of float32 parameters that lie so, on one device."""
    total = 0
    for name, of in sharding.table.items():
        if what == "all" or of.stack:
            divided = math.prod(sharding.sizes[axis] for axis in axes[name] if axis)
            total += FLOAT32 * of.size // divided
    return total


def _activations_sent(recipe: Recipe, leaves: int) -> float:
    """Bytes that a chip takes in along model: each layer's input gathered and output summed, forward and backward;
    and along expert: tokens to their experts and back."""
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
    """Bytes/s that a chip takes in along an axis: model has one dimension of the slice, data the others."""
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
