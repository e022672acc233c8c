"""How memory holds a model while it computes: the one place where a CPU gets another shape than an accelerator.

Parameters are stored as logical matrices (parameters.py). A step arranges them once: the projections that read the
same input are joined into one matrix product, and on a CPU the layers come apart, since XLA runs a loop over layers
slower there. Gradients take the same road back. None of it changes what is computed but for rounding.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.parameters import Parameters
from palmetto.recipe import Model


class Layout(NamedTuple):
    """The choices; both hold for every model."""

    unroll_layers: bool
    """Layers as a Python list, each compiled by itself, or stacked under one scan."""
    query_rows: int
    """Causal attention takes this many query rows at a time against the keys up to them, never the masked rest."""
    logit_rows: int
    """The loss holds the logits of this many positions at a time."""


CPU = Layout(unroll_layers=True, query_rows=128, logit_rows=512)
ACCELERATOR = Layout(unroll_layers=False, query_rows=1024, logit_rows=2048)


def for_platform(platform: str) -> Layout:
    """The layout for a JAX platform name (cpu, gpu, tpu)."""
    return CPU if platform == "cpu" else ACCELERATOR


class Block(NamedTuple):
    """One parallel block as it computes; with a leading axis [L] where layers are stacked."""

    norm: jax.Array
    """[D]"""
    inputs: jax.Array
    """[D, H·Q + Q + Q + F + F]: queries, the shared key and value, gate and up, side by side."""
    outputs: jax.Array
    """[H·Q + F, D]: attention's and the feed-forward layer's way back, one above the other."""


class Arranged(NamedTuple):
    """A whole model as it computes."""

    embedding: jax.Array
    """[V, D]"""
    blocks: Block | tuple[Block, ...]
    final_norm: jax.Array
    """[D]"""


def arrange(parameters: Parameters, layout: Layout) -> Arranged:
    """Joins what computes together. Linear, so that its transpose takes gradients back to the logical matrices."""
    stacked = Block(
        norm=parameters["norm"],
        inputs=jnp.concatenate([parameters[name] for name in ("q", "k", "v", "gate", "up")], axis=-1),
        outputs=jnp.concatenate([parameters["o"], parameters["down"]], axis=-2),
    )
    blocks: Block | tuple[Block, ...] = stacked
    if layout.unroll_layers:
        layers = stacked.norm.shape[0]
        blocks = tuple(jax.tree.map(lambda array, i=i: array[i], stacked) for i in range(layers))
    return Arranged(parameters["embedding"], blocks, parameters["final_norm"])


def split_inputs(joined: jax.Array, model: Model) -> tuple[jax.Array, ...]:
    """Takes x·inputs [..., H·Q + 2Q + 2F] apart into q [..., H, Q], k, v [..., Q], gate and up [..., F]."""
    heads, size, feedforward = model.heads, model.query_size, model.feedforward_size
    ends = [heads * size, heads * size + size, heads * size + 2 * size, heads * size + 2 * size + feedforward]
    q, k, v, gate, up = jnp.split(joined, ends, axis=-1)
    return q.reshape(*q.shape[:-1], heads, size), k, v, gate, up
