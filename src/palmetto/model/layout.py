"""How memory holds a model while it computes: the one place where a CPU gets another shape than an accelerator.

Parameters are stored as logical matrices (parameters.py). A step arranges them once, for all its micro-batches, and
gradients take the same road back. None of it changes what is computed but for rounding.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.parameters import Parameters
from palmetto.recipe import Model


class Layout(NamedTuple):
    """The choices; each holds for every model."""

    unroll_layers: bool
    """Layers as a Python tuple, each compiled by itself, or stacked under one scan, which XLA runs slower on a CPU."""
    query_rows: int
    """Causal attention takes this many query rows at a time against the keys up to them, never the masked rest."""
    logit_rows: int
    """The loss holds the logits of this many positions at a time."""


CPU = Layout(unroll_layers=True, query_rows=64, logit_rows=1024)
ACCELERATOR = Layout(unroll_layers=False, query_rows=1024, logit_rows=2048)


def for_platform(platform: str) -> Layout:
    """The layout for a JAX platform name (cpu, gpu, tpu)."""
    return CPU if platform == "cpu" else ACCELERATOR


class Block(NamedTuple):
    """One parallel block as it computes; with a leading axis [L] where layers are stacked."""

    qkv: jax.Array
    """[D, H·Q + Q + Q]: queries over √Q, the shared key and the shared value, side by side."""
    gate: jax.Array
    """[D, F]"""
    up: jax.Array
    """[D, F]"""
    o: jax.Array
    """[D, H·Q], transposed: its gradient is then the product that XLA's CPU code is quicker at."""
    down: jax.Array
    """[D, F], transposed."""


class Arranged(NamedTuple):
    """A whole model as it computes."""

    embedding: jax.Array
    """[V, D]"""
    blocks: Block | tuple[Block, ...]
    final_norm: jax.Array
    """[D], over √D, the scale of the logits."""


def arrange(parameters: Parameters, model: Model, layout: Layout) -> Arranged:
    """Joins and scales once what would be joined and scaled for every position; differentiable.

    The norm's scale multiplies the rows of the kernels behind it, 1/√Q the queries and 1/√D the final norm. The pairs
    that rotary positions turn, neighbours in q and k, come apart into halves (positions.py).
    """
    scale = parameters["norm"][..., None]
    q, k, v = (parameters[name] for name in ("q", "k", "v"))
    q, k = (_halves(kernel, model.query_size) for kernel in (q, k))
    stacked = Block(
        qkv=scale * jnp.concatenate([q / math.sqrt(model.query_size), k, v], axis=-1),
        gate=scale * parameters["gate"],
        up=scale * parameters["up"],
        o=parameters["o"].mT,
        down=parameters["down"].mT,
    )
    blocks: Block | tuple[Block, ...] = stacked
    if layout.unroll_layers:
        blocks = tuple(jax.tree.map(lambda array, i=i: array[i], stacked) for i in range(model.layers))
    return Arranged(parameters["embedding"], blocks, parameters["final_norm"] / math.sqrt(model.d_model))


def _halves(kernel: jax.Array, head_size: int) -> jax.Array:
    """Reorders the columns of each head [..., heads · Q] from x0 y0 x1 y1 … to x0 x1 … y0 y1 …."""
    pairs = kernel.reshape(*kernel.shape[:-1], -1, head_size // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(kernel.shape)
