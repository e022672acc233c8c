"""How memory holds a model while it computes: the one place where a CPU gets another shape than an accelerator.

Parameters are stored as logical matrices (weights.py). A step arranges them once, for all its micro-batches, as their
rows of the table say, and gradients take the same way back. None of it changes what is computed but for rounding.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.sums import scale_rows, summed_back
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters, Table, Weight, mesh_axis, weight_table
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model

Layer = dict[str, jax.Array]
"""One layer as it computes, by name:
    qkv [D, (H + 2K)·Q]: queries over √Q, keys and values side by side; or q, k and v apart
    o [D, H·Q], down [D, F]: transposed; their gradients are then the products that XLA's CPU code is quicker at
    gate, up [D, F]; expert_gate, expert_up, expert_down [E, D, F], router [D, E]
    a bias NAME_bias behind any kernel that has one
    norms that no kernel takes up, q_norm (over √Q) and k_norm [Q]; relative [buckets, H]; r [D, H·Q], u and w [H, Q]"""


Fetch = Callable[[Layer], Layer]
"""Takes the parts of arrays that a device holds; returns the whole arrays."""


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
    """Applies function(name, array, …) to each array, with its name in its layer or among the ends."""

    def apply(path: tuple[jax.tree_util.DictKey | jax.tree_util.GetAttrKey, ...], *arrays: jax.Array) -> jax.Array:
        last = path[-1]
        return function(last.key if isinstance(last, jax.tree_util.DictKey) else last.name, *arrays)

    mapped: Arranged = jax.tree_util.tree_map_with_path(apply, arranged, *others)
    return mapped


def with_ends(arranged: Arranged, fetch: Fetch) -> Arranged:
    """Returns `arranged` with all that stands outside the layers made whole."""
    tables = {"embedding": arranged.embedding} | ({} if arranged.output is None else {"output": arranged.output})
    ends = fetch(tables | arranged.ends)
    return Arranged(ends.pop("embedding"), ends.pop("output", None), arranged.layers, ends)


def arrange(parameters: Parameters, model: Model, tuning: Tuning, mesh: Mesh = ONE_DEVICE) -> Arranged:
    """Joins and scales once what would be joined and scaled for every position; it is differentiable.

    The row of a weight says what becomes of it. The pairs that rotary positions turn, neighbours in q and k,
    come apart into halves (positions.py). Of parameters divided over devices along data (`Weight.data_dimension`) it
    makes the same parts of what it would make of the whole.
    """
    table, period = weight_table(model, len(parameters["embedding"])), model.period
    stacks: list[Layer] = [{} for _ in range(period)]
    for name, weight in table.items():
        for kind, stack in enumerate(stacks):
            if kind in weight.layers:
                # Every period-th layer of those that have it, beginning with this kind's first.
                first = weight.layers.index(kind)
                stride = sum(layer < period for layer in weight.layers)
                stack[name] = parameters[name][first::stride]
    kinds = tuple(_arrange_layer(stack, table, model, mesh) for stack in stacks)
    layers: Stacked | tuple[Layer, ...] = Stacked(kinds)
    if tuning.unroll:
        apart = [{name: _unstack(array) for name, array in kind.items()} for kind in kinds]
        layers = tuple(
            {name: arrays[layer // period] for name, arrays in apart[layer % period].items()}
            for layer in range(period * len(next(iter(kinds[0].values()))))
        )
    ends = {name: _arrange_end(parameters[name], weight) for name, weight in table.items() if not weight.stack}
    return Arranged(ends.pop("embedding"), ends.pop("output", None), layers, ends)


def _arrange_end(array: jax.Array, weight: Weight) -> jax.Array:
    array = array.mT if weight.transposed else array
    return array if weight.divisor == 1 else array / weight.divisor


def _unstack(array: jax.Array) -> list[jax.Array]:
    """Returns the entries of the leading axis.

    The derivative of slices by index would be a sum of arrays filled up with zeros, which costs an update more than all
    else.
    """
    return [jnp.squeeze(entry, 0) for entry in jax.lax.split(array, [1] * len(array))]


def _arrange_layer(stored: Layer, table: Table, model: Model, mesh: Mesh) -> Layer:
    """Returns a layer's arrays, all with the same leading axes, as `Layer` has them."""
    size = model.query_size
    layer = {name: _halves(array, size) if table[name].rotated else array for name, array in stored.items()}
    for name in (name for name in stored if table[name].factor != 1):
        layer[name] = layer[name] * table[name].factor
    for norm in filter(_folded(table).__contains__, stored):
        scale = layer.pop(norm)
        # Of the experts behind it, each device along their axis sees its own.
        of_experts = summed_back(scale, "expert") if mesh.expert > 1 else scale
        for name in (name for name in stored if table[name].norm == norm):
            parts = mesh.model if mesh_axis(table[name].axes[-1], model, mesh) == "model" else 1
            layer[name] = scale_rows(of_experts if table[name].of_expert else scale, layer[name], parts)
    arrays: dict[str, list[jax.Array]] = {}
    for name, array in layer.items():
        array = array.mT if table[name].transposed else array
        arrays.setdefault(_arranged_name(name, table[name], mesh), []).append(array)
    return {name: parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1) for name, parts in arrays.items()}


def _folded(table: Table) -> set[str]:
    """Returns the norms whose scales are multiplied into kernels."""
    return {weight.norm for weight in table.values() if weight.norm}


def _arranged_name(name: str, weight: Weight, mesh: Mesh) -> str:
    return weight.fused if weight.fused and mesh.model == 1 else name


def arranged_table(table: Table, mesh: Mesh) -> dict[str, Weight]:
    """Derives the rows of the arrays that `arrange` returns, in layers those of one layer, from the stored rows.

    Their shape, their axes and `cast` are those of the arranged array; the other fields have their defaults.
    """
    rows: dict[str, Weight] = {}
    for name, weight in table.items():
        if name in _folded(table):
            continue
        alone = slice(int("layers" in weight.axes), None)
        shape, axes = weight.shape[alone], weight.axes[alone]
        if weight.transposed:
            shape, axes = (*shape[:-2], shape[-1], shape[-2]), (*axes[:-2], axes[-1], axes[-2])
        name = _arranged_name(name, weight, mesh)
        if name in rows:
            shape = (*shape[:-1], rows[name].shape[-1] + shape[-1])
            axes = rows[name].axes
        rows[name] = Weight(shape, axes, deviation=None, cast=weight.cast)
    return rows


def _halves(kernel: jax.Array, head_size: int) -> jax.Array:
    """Reorders the columns of each head [..., heads · Q] from x0 y0 x1 y1 … to x0 x1 … y0 y1 …."""
    pairs = kernel.reshape(*kernel.shape[:-1], -1, head_size // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(kernel.shape)
