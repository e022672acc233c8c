"""Arranges a model's parameters for computation; this is the only place where layouts differ between platforms.

Parameters are stored as logical matrices (weights.py). A step arranges them once for all its micro-batches, as their
rows of the table say, and gradients are mapped back by the derivative. Apart from rounding, results do not change.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.adapters import merged
from palmetto.model.sums import scale_rows, summed_back
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Parameters, Table, Weight, mesh_axis, weight_table
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model

Layer = dict[str, jax.Array]
"""The arranged arrays of one layer by name:
    qkv [D, (H + 2K)·Q]: the kernels of queries (divided by √Q), keys and values, fused; or q, k and v separately
    o [D, H·Q], down [D, F]: transposed, so that their gradients are products that XLA's CPU code computes faster
    gate, up [D, F]; expert_gate, expert_up, expert_down [E, D, F], router [D, E]
    NAME_bias for each kernel NAME with a bias
    norms that are not folded into kernels, q_norm (divided by √Q) and k_norm [Q]; relative [buckets, H]; r [D, H·Q],
    u and w [H, Q]"""


Fetch = Callable[[Layer], Layer]
"""(the parts of arrays that a device holds) → the whole arrays."""


class Stacked(NamedTuple):
    """Holds layers whose kinds repeat with period p: layer j + n·p is entry n of the leading axis of kind j."""

    kinds: tuple[Layer, ...]


class Arranged(NamedTuple):
    """Holds a whole model's arranged arrays."""

    embedding: jax.Array
    """The token embedding, [V, D]."""
    output: jax.Array | None
    """The output embedding, [V, D]; None if it is tied to the embedding."""
    layers: Stacked | tuple[Layer, ...]
    ends: Layer
    """The arrays before the first layer and after the last: learned `positions`, embedding_norm, final_norm (divided by
    √D for a tied embedding) and their biases."""

    @property
    def unembedding(self) -> jax.Array:
        """The matrix [V, D] that turns final states into logits."""
        return self.embedding if self.output is None else self.output


def map_named(function: Callable[..., jax.Array], arranged: Arranged, *others: Arranged) -> Arranged:
    """Applies function(name, array, …) to each array, where `name` is its name in its layer or among the ends."""

    def apply(path: tuple[jax.tree_util.DictKey | jax.tree_util.GetAttrKey, ...], *arrays: jax.Array) -> jax.Array:
        last = path[-1]
        return function(last.key if isinstance(last, jax.tree_util.DictKey) else last.name, *arrays)

    mapped: Arranged = jax.tree_util.tree_map_with_path(apply, arranged, *others)
    return mapped


def with_ends(arranged: Arranged, fetch: Fetch | None) -> Arranged:
    """Returns `arranged` with the arrays outside the layers fetched whole, as it is if there is nothing to fetch."""
    if fetch is None:
        return arranged
    tables = {"embedding": arranged.embedding} | ({} if arranged.output is None else {"output": arranged.output})
    ends = fetch(tables | arranged.ends)
    return Arranged(ends.pop("embedding"), ends.pop("output", None), arranged.layers, ends)


def arrange(parameters: Parameters, model: Model, tuning: Tuning, mesh: Mesh = ONE_DEVICE) -> Arranged:
    """Returns the arranged arrays of a model: weights fused, scaled and transposed as their rows say.

    It is differentiable. The pairs that rotary positions rotate, adjacent in q and k, are separated into halves
    (positions/rotary.py). If parameters are divided over devices along data (`Weight.data_dimension`), the result is
    divided in the same way. Adapters are added to their weights first.
    """
    table, period = weight_table(model, len(parameters["embedding"])), model.period
    parameters = merged(parameters, table, model.lora)
    stacks: list[Layer] = [{} for _ in range(period)]
    for name, weight in table.items():
        for kind, stack in enumerate(stacks):
            if kind in weight.layers:
                # Of the layers that have it, every period-th one, starting with this kind's first.
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
    """Returns the entries of the leading axis as separate arrays.

    If they were slices by index, the derivative would be a sum of zero-padded arrays, the largest cost of an update.
    """
    return [jnp.squeeze(entry, 0) for entry in jax.lax.split(array, [1] * len(array))]


def _arrange_layer(stored: Layer, table: Table, model: Model, mesh: Mesh) -> Layer:
    """Returns a layer's arrays as `Layer` describes them; all have the same leading axes."""
    size = model.query_size
    layer = {name: _halves(array, size) if table[name].rotated else array for name, array in stored.items()}
    for name in (name for name in stored if table[name].factor != 1):
        layer[name] = layer[name] * table[name].factor
    for norm in filter(_folded(table).__contains__, stored):
        scale = layer.pop(norm)
        # Each device along the expert axis computes the gradient from its own experts only.
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
    """Returns the names of the norms whose scales are multiplied into kernels."""
    return {weight.norm for weight in table.values() if weight.norm}


def _arranged_name(name: str, weight: Weight, mesh: Mesh) -> str:
    return weight.fused if weight.fused and mesh.model == 1 else name


def arranged_table(table: Table, mesh: Mesh) -> dict[str, Weight]:
    """Returns the rows of the arrays that `arrange` returns, derived from the stored rows.

    A row in the layers describes one layer's array. `shape`, `axes`, `cast`, `frozen` and `channels` are those of the
    arranged array; the other fields have their defaults.
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
        frozen = weight.frozen and (weight.norm is None or table[weight.norm].frozen)
        if name in rows:
            shape = (*shape[:-1], rows[name].shape[-1] + shape[-1])
            axes, frozen, weight = rows[name].axes, rows[name].frozen and frozen, rows[name]
        rows[name] = Weight(shape, axes, None, cast=weight.cast, frozen=frozen, channels=weight.channels)
    return rows


def _halves(kernel: jax.Array, head_size: int) -> jax.Array:
    """Reorders the columns of each head [..., heads · Q] from x0 y0 x1 y1 … to x0 x1 … y0 y1 …."""
    pairs = kernel.reshape(*kernel.shape[:-1], -1, head_size // 2, 2)
    return pairs.swapaxes(-1, -2).reshape(kernel.shape)
