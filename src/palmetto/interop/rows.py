"""The table of a target: a row for each of its tensors, read both ways.

A row names the logical weights that a tensor holds, and their form in it. Which layers and experts have the weight, and
its shape, are read from the table of weights (model/weights.py); a row whose weights a model lacks does not count.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from palmetto.errors import UserError
from palmetto.interop.forms import AS_IS, Array, Form
from palmetto.model.weights import Table, logical_name


class Row(NamedTuple):
    """Describes a tensor of a target, or one for each layer or expert."""

    tensor: str
    """The target's name, with {layer} and {expert} where there is one for each.

    Without {expert} the tensor holds the matrices of all experts.
    """
    weights: tuple[str, ...]
    """The names of the weights that it holds, all of the same layers."""
    form: Form = AS_IS


class Tensor(NamedTuple):
    """Describes one tensor of a target."""

    name: str
    shape: tuple[int, ...]
    matrices: tuple[str, ...]
    """The logical matrices that it holds, by name."""
    form: Form


def tensors(rows: Sequence[Row], table: Table) -> list[Tensor]:
    """Returns the tensors of a model, those outside the layers first, then layer by layer.

    Every weight of the model is in exactly one of them.
    """
    there = [row for row in rows if all(name in table for name in row.weights)]
    assert sorted(itertools.chain(*(row.weights for row in there))) == sorted(table), "each weight is in one row"
    numbered = [each for row in there for each in _each(row, table)]
    return [tensor for _, tensor in sorted(numbered, key=lambda each: each[0])]


def _each(row: Row, table: Table) -> Iterator[tuple[int, Tensor]]:
    """Yields the layer, −1 outside the layers, and the tensor of each layer and expert that has the row's weights."""
    weights = [table[name] for name in row.weights]
    stack = weights[0].shape[: weights[0].stack]
    apart = 2 if "{expert" in row.tensor else 1
    together = list(itertools.product(*map(range, stack[apart:])))
    shape = row.form.shape(*(weight.shape[weight.stack :] for weight in weights for _ in together))
    for index in itertools.product(*map(range, stack[:apart])):
        layer = weights[0].layers[index[0]] if index else -1
        matrices = tuple(
            logical_name(name, table[name], (*index, *inner)) for name in row.weights for inner in together
        )
        name = row.tensor.format(layer=layer, expert=index[-1] if index else 0)
        yield layer, Tensor(name, shape, matrices, row.form)


def matrices(rows: Sequence[Row], table: Table, found: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the logical matrices, float32 by name, that the tensors of a target hold.

    Raises UserError, which names it, if a tensor is missing, has another shape, or has no place in the model.
    """
    expected = {tensor.name: tensor for tensor in tensors(rows, table)}
    values: dict[str, Array] = {}
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise UserError(f"{name}: no such tensor, which the model needs")
        if name not in expected:
            raise UserError(f"{name}: a tensor for which the model has no place")
        tensor, array = expected[name], found[name]
        if array.shape != tensor.shape:
            raise UserError(f"{name}: of shape {list(array.shape)}; expected {list(tensor.shape)}")
        try:
            values |= zip(tensor.matrices, tensor.form.back(array.astype(np.float32)), strict=True)
        except UserError as error:
            raise UserError(f"{name}: {error}") from None
    return values
