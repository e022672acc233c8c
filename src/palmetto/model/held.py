"""Holds a model's weights for decoding: in float32, in bfloat16, or in int8 with a scale for each output channel.

The weights' table says which weights may have fewer bits (`Weight.channels`); all others stay as they are. Products
(products.py), the lookup of tokens and the logits take a matrix in any of these forms.
"""

from functools import partial
from typing import Any

import jax

from palmetto.model.int8 import quantize
from palmetto.model.layout import Arranged, arranged_table, map_named
from palmetto.model.tuning import Tuning
from palmetto.model.weights import Weight, weight_table
from palmetto.native.packed import pack, pack_int8
from palmetto.recipe.mesh import ONE_DEVICE, Mesh
from palmetto.recipe.model import Model, Weights


def hold(
    arranged: Arranged, model: Model, weights: Weights | None, tuning: Tuning, mesh: Mesh = ONE_DEVICE
) -> Arranged:
    """Returns weights as decoding with this tuning holds them, given those arranged for it.

    weights: their type; None for that of the activations, to which products would cast them in any case. With `native`,
    matrices are packed as its kernels read them.
    """
    rows = arranged_table(weight_table(model, arranged.embedding.shape[0]), mesh)

    def held(name: str, array: jax.Array) -> Any:
        return _held(array, rows[name], model, weights, tuning.native) if rows[name].channels else array

    return map_named(held, arranged)


@partial(jax.jit, static_argnames=("row", "model", "weights", "native"))
def _held(array: jax.Array, row: Weight, model: Model, weights: Weights | None, native: bool) -> Any:
    """Returns a matrix, or one for each expert, as it is held: an array, `Int8` or `Packed`."""
    assert row.channels is not None
    channels = row.axes.index(row.channels) - len(row.axes)
    packed = native and array.ndim == 2 and model.activations != "float16"
    if weights == "int8":
        matrix = quantize(array, channels)
        return pack_int8(matrix.values, matrix.scales, channels) if packed else matrix
    typed = array.astype(weights or (model.activations if row.cast else array.dtype))
    # Products of bfloat16 values have kernels of their own, which are quicker with many rows.
    return pack(typed, channels) if packed and model.activations == "float32" else typed
