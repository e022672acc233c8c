"""Bounds a step of inference from below, by the sizes of its model alone."""

from typing import NamedTuple

import jax.numpy as jnp

from palmetto.model.weights import count, weight_table
from palmetto.planning.inference.memory import position_bytes
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network.topology import Topology
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights


class Roofline(NamedTuple):
    """Holds the least seconds of a step on chips that never wait for each other."""

    products: float
    """The seconds of the products at the peak of the matrix units."""
    memory: float
    """The seconds in which the memory gives all weights, and in decoding all keys and values, once."""

    @property
    def seconds(self) -> float:
        """The larger of the two, which bounds the step."""
        return max(self)


def flops(recipe: Recipe, phase: Phase) -> int:
    """Returns the FLOPs of a step: 2 for each parameter and token, as Pope et al. (section 2) count them."""
    return 2 * count(recipe.model, recipe.model_vocabulary) * phase.tokens


def roofline(recipe: Recipe, on: Topology, phase: Phase, weights: Weights) -> Roofline:
    """Returns the bounds of a step.

    Logits are computed of each sequence's last token alone, and attention of what a token sees: 4·L·H·Q FLOPs for each
    key. Weights are in the type in which they are held, scales not counted.
    """
    model = recipe.model
    ends = sum(of.size for name, of in weight_table(model, recipe.model_vocabulary).items() if not of.stack)
    layers = count(model, recipe.model_vocabulary) - ends
    unembedding = recipe.model_vocabulary * model.d_model
    seen = phase.length if phase.name == "decode" else phase.length * (phase.length + 1) // 2
    attention = 4 * model.layers * model.heads * model.query_size * seen * phase.batch
    products = 2 * layers * phase.tokens + 2 * unembedding * phase.batch + attention
    width = jnp.dtype(weights).itemsize
    kept = position_bytes(model) * phase.batch * phase.length if phase.name == "decode" else 0
    moved = (layers + unembedding) * width + kept
    return Roofline(products / on.chips / on.chip.flops, moved / on.chips / on.chip.memory_bandwidth)
