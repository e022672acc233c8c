"""Counts the bytes of weights, keys and values on a chip, and the longest context that fits."""

import jax.numpy as jnp

from palmetto.model.layout import arranged_table
from palmetto.model.weights import weight_table
from palmetto.planning.inference.division import Division
from palmetto.planning.inference.phases import Phase
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import Mesh
from palmetto.recipe.model import Model, Weights

CACHE_SHARE = 0.3
"""The share of a chip's memory that Pope et al. (arXiv 2211.05102, table 1) leave to the cache."""

APART = Mesh(model=2)
"""A mesh that divides layers, for which kernels are arranged apart and not as one."""


def weight_bytes(recipe: Recipe, division: Division, weights: Weights) -> int:
    """Returns the bytes of a chip's weights in a type, without the scales of int8."""
    table = weight_table(recipe.model, recipe.model_vocabulary)
    total = 0
    for name, row in arranged_table(table, APART).items():
        width = jnp.dtype(weights if row.channels else "float32").itemsize
        parts = division.parts("".join(division.of(row)))
        total += max(1, len(table[name].layers)) * row.size // parts * width
    return total


def position_bytes(model: Model) -> int:
    """Returns the bytes of the keys and values of one position of one sequence, in all layers."""
    width: int = jnp.dtype(model.activations).itemsize
    return 2 * model.layers * model.key_value_heads * model.query_size * width


def cache_bytes(model: Model, phase: Phase, division: Division) -> int:
    """Returns the bytes of a chip's keys and values for one position of every sequence."""
    parts = division.parts(division.sequences + division.key_value_heads)
    return position_bytes(model) * phase.batch // parts
