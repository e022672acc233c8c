"""How memory holds a model while it computes: the one place where a CPU gets another shape than an accelerator.

Parameters are stored as logical matrices (parameters.py). A step arranges them once, for all its micro-batches, and
gradients take the same road back. None of it changes what is computed but for rounding.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.sums import scale_rows, summed_back
from palmetto.model.weights import Parameters, specifications
from palmetto.recipe.model import Model


class Layout(NamedTuple):
    """The choices; each holds for every model."""

    platform: str
    """A JAX platform name: cpu, gpu or tpu."""
    unroll: bool
    """Layers and experts as Python loops, each compiled by itself, or layers under one scan and experts in one batched
    product, which XLA runs slower on a CPU."""
    query_rows: int
    """Causal attention takes this many query rows at a time against the keys up to them, never the masked rest."""
    kept_length: int
    """Up to this sequence length causal attention keeps its weights for the backward pass, which is quicker; beyond,
    it forms them again in blocks, and its memory grows with the length, not its square."""
    block_rows: int
    """Queries and keys in a block of blocked attention."""
    logit_rows: int
    """The loss holds the logits of this many positions at a time."""
    sequence: int = 1
    """Devices that share a sequence's positions, along the mesh's axis of that name."""
    experts: int = 1
    """Devices that share a layer's experts, along the mesh's axis `expert`."""
    model: int = 1
    """Devices that share a layer's heads and feed-forward, along the mesh's axis of that name."""


CPU = Layout("cpu", unroll=True, query_rows=64, kept_length=1024, block_rows=256, logit_rows=1024)
ACCELERATOR = Layout("gpu", unroll=False, query_rows=1024, kept_length=1024, block_rows=512, logit_rows=2048)


def for_platform(platform: str) -> Layout:
    """The layout for a JAX platform name."""
    return CPU if platform == "cpu" else ACCELERATOR._replace(platform=platform)


Layer = dict[str, jax.Array]
"""One layer as it computes, by name:
    qkv [D, (H + 2K)·Q]: queries over √Q, keys and values side by side; or q, k and v apart
    o [D, H·Q], down [D, F]: transposed; their gradients are then the products that XLA's CPU code is quicker at
    gate, up [D, F]; expert_gate, expert_up, expert_down [E, D, F], router [D, E]
    a bias NAME_bias behind any kernel that has one
    norms that no kernel takes up, q_norm (over √Q) and k_norm [Q]; relative [buckets, H]; r [D, H·Q], u and w [H, Q]"""


Fetch = Callable[[Layer], Layer]
"""From the parts of arrays that a device holds to the whole arrays."""


class Stacked(NamedTuple):
    """Layers that recur with a period p: layer j + n·p is entry n of the leading axis of kind j."""

    kinds: tuple[Layer, ...]


class Arranged(NamedTuple):
    """A whole model as it computes."""

    embedding: jax.Array
    """[V, D]"""
    output: jax.Array | None
    """[V, D] of the logits; None where it is the embedding."""
    layers: Stacked | tuple[Layer, ...]
    ends: Layer
    """What stands before the first layer and behind the last: learned `positions`, embedding_norm, final_norm (over √D
    where the embedding is tied) and their biases."""

    @property
    def unembedding(self) -> jax.Array:
        """[V, D] of the logits."""
        return self.embedding if self.output is None else self.output


def map_named(function: Callable[..., jax.Array], arranged: Arranged, *others: Arranged) -> Arranged:
    """function(name, array, …) of each array, under the name that it has in its layer, or among the ends."""

    def apply(path: tuple[jax.tree_util.DictKey | jax.tree_util.GetAttrKey, ...], *arrays: jax.Array) -> jax.Array:
        last = path[-1]
        return function(last.key if isinstance(last, jax.tree_util.DictKey) else last.name, *arrays)

    mapped: Arranged = jax.tree_util.tree_map_with_path(apply, arranged, *others)
    return mapped


def with_ends(arranged: Arranged, fetch: Fetch) -> Arranged:
    """`arranged` with all that stands outside the layers made whole."""
    tables = {"embedding": arranged.embedding} | ({} if arranged.output is None else {"output": arranged.output})
    ends = fetch(tables | arranged.ends)
    return Arranged(ends.pop("embedding"), ends.pop("output", None), arranged.layers, ends)


def arrange(parameters: Parameters, model: Model, layout: Layout) -> Arranged:
    """Joins and scales once what would be joined and scaled for every position; differentiable.

    The scale of a norm without bias multiplies the rows of the kernels behind it, 1/√Q the queries and 1/√D the final
    norm. The pairs that rotary positions turn, neighbours in q and k, come apart into halves (positions/rotary.py).
    Of parameters spread over devices (`spread_dimension`) it makes the same parts of what it would make of the whole.
    """
    table, period = specifications(model, len(parameters["embedding"])), model.period
    stacks: list[Layer] = [{} for _ in range(period)]
    ends: Layer = {}
    for name, specification in table.items():
        if not specification.stack:
            ends[name] = parameters[name]
            continue
        for kind, stack in enumerate(stacks):
            if kind in specification.layers:
                # Every period-th layer of those that have it, beginning with this kind's first.
                first = specification.layers.index(kind)
                stride = sum(layer < period for layer in specification.layers)
                stack[name] = parameters[name][first::stride]
    kinds = tuple(_arrange_layer(stack, model, layout) for stack in stacks)
    layers: Stacked | tuple[Layer, ...] = Stacked(kinds)
    if layout.unroll:
        apart = [{name: _unstack(array) for name, array in kind.items()} for kind in kinds]
        layers = tuple(
            {name: arrays[layer // period] for name, arrays in apart[layer % period].items()}
            for layer in range(period * len(next(iter(kinds[0].values()))))
        )
    if model.tied_embedding:
        for name in filter(ends.__contains__, ("final_norm", "final_norm_bias")):
            ends[name] = ends[name] / math.sqrt(model.d_model)
    output = ends.pop("output").mT if "output" in ends else None
    return Arranged(ends.pop("embedding"), output, layers, ends)


def _unstack(array: jax.Array) -> list[jax.Array]:
    """The entries of the leading axis. Of slices by index the derivative would be a sum of arrays filled up with zeros,
    which costs an update more than all else."""
    return [jnp.squeeze(entry, 0) for entry in jax.lax.split(array, [1] * len(array))]


def _arrange_layer(stored: Layer, model: Model, layout: Layout) -> Layer:
    """A layer's arrays, all with the same leading axes, as `Layer` has them."""
    layer = {**stored, **model.positions.arrange(stored, model)}
    to_heads = 1 / math.sqrt(model.query_size)
    for name in ("q_norm",) if model.qk_norm else ("q", "q_bias"):
        if name in layer:
            layer[name] = layer[name] * to_heads
    if model.norm_position in ("pre", "sandwich") and not model.norm_bias:
        inner = ["gate", "up", "router", "expert_gate", "expert_up"]
        behind_norm = {"norm": ["q", "k", "v"], "feedforward_norm": inner}
        if model.block == "parallel":
            behind_norm = {"norm": ["q", "k", "v", *inner]}
        for norm, kernels in behind_norm.items():
            norm_scale = layer.pop(norm)
            # Of the experts behind it, each device along their axis sees its own.
            of_experts = summed_back(norm_scale, "expert") if layout.experts > 1 else norm_scale
            for name in filter(layer.__contains__, kernels):
                shared = name == "router" or (name in ("k", "v") and model.key_value_heads % layout.model)
                scale = of_experts if name.startswith("expert_") else norm_scale
                layer[name] = scale_rows(scale, layer[name], 1 if shared else layout.model)
    for ending in ("", "_bias"):
        if layout.model == 1 and f"q{ending}" in layer:
            layer[f"qkv{ending}"] = jnp.concatenate([layer.pop(f"{name}{ending}") for name in "qkv"], axis=-1)
    for name in ("o", "down", "expert_down"):
        if name in layer:
            layer[name] = layer[name].mT
    return layer


_KERNELS = (
    *("qkv", "q", "k", "v", "o", "r", "gate", "up", "down"),
    *("router", "expert_gate", "expert_up", "expert_down"),
)


def spread_dimension(name: str) -> int | None:
    """The dimension, from the end, along which devices may each hold a part of an array of one layer or of the ends.

    That is the model's width or, of the embedding and the output kernel, the vocabulary; None where there is neither.
    """
    if name in _KERNELS or name in ("embedding", "output"):
        return -2
    is_norm = "norm" in name and name not in ("q_norm", "k_norm")
    return -1 if is_norm or name in ("positions", "o_bias", "down_bias") else None
