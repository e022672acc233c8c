"""Matrices packed once, as kernels of this package read them, for products with few rows: each step of decoding.

Such a product waits for its matrix. Packed, it is read once, from the first byte to the last, by all cores together.

A product's bits depend on its row and the matrix alone. In float32 the terms of an element are added in the order of
their index, one fused multiply–add each, as in products.py. In int8 sums are whole numbers, the same in any order.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

PANEL = 32
"""The number of columns that lie side by side."""

TOGETHER = 4
"""The number of terms that an instruction for int8 multiplies and adds."""

DEEPEST = 1 << 16
"""The largest depth of a matrix in int8: its sums fit into 32 bits."""

_ZERO = 128
"""The number that is added to values of int8, since the instruction takes one factor without a sign."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Packed:
    """Holds a matrix [K, N], which a product multiplies from the right, in panels of columns with zeros behind them."""

    panels: jax.Array
    """Float32 or bfloat16 values [N/32, K, 32], or int8 values plus 128, uint8 [N/32, K/4, 32, 4]."""
    scales: jax.Array | None
    """The scale of each column, float32 [N/32, 32]; None unless the values are int8."""
    shape: tuple[int, ...] = field(metadata={"static": True})
    """The shape of the matrix before it was packed: (K, N), or (N, K) if it was transposed."""
    transposed: bool = field(metadata={"static": True})

    @property
    def dtype(self) -> Any:
        return self.panels.dtype

    @property
    def depth(self) -> int:
        """K, the number of terms of a product."""
        return self.shape[1 if self.transposed else 0]

    @property
    def columns(self) -> int:
        """N, the number of columns."""
        return self.shape[0 if self.transposed else 1]

    def column(self, numbers: jax.Array) -> jax.Array:
        """Returns the columns `numbers` [...] of the matrix, [..., K], in float32 or bfloat16."""
        panel, place = numbers // PANEL, numbers % PANEL
        found = self.panels[panel, :, place]
        if self.scales is None:
            return found
        values = found.astype(jnp.float32).reshape(*numbers.shape, -1)[..., : self.depth] - _ZERO
        return values * self.scales[panel, place][..., None]


def pack(matrix: jax.Array, channels: int = -1) -> Packed:
    """Returns a float32 or bfloat16 matrix packed; the axis `channels`, −1 or −2, counts its columns."""
    return Packed(_panels(matrix if channels == -1 else matrix.mT), None, matrix.shape, channels == -2)


def pack_int8(values: jax.Array, scales: jax.Array, channels: int = -1) -> Packed:
    """Returns int8 values from −127 to 127 packed, with a float32 scale for each entry of the axis `channels`."""
    depth = values.shape[-3 - channels]
    assert depth <= DEEPEST, "sums fit into 32 bits"
    turned = values if channels == -1 else values.mT
    panels = _panels(jnp.pad(turned, ((0, -depth % TOGETHER), (0, 0))))
    count, deep, _ = panels.shape
    grouped = panels.reshape(count, deep // TOGETHER, TOGETHER, PANEL).swapaxes(2, 3)
    unsigned = (grouped.astype(jnp.int16) + _ZERO).astype(jnp.uint8)
    return Packed(unsigned, _panels(scales.reshape(1, -1))[:, 0], values.shape, channels == -2)


def _panels(matrix: jax.Array) -> jax.Array:
    """Returns a matrix [K, N] as [N/32, K, 32]."""
    depth, columns = matrix.shape
    padded = jnp.pad(matrix, ((0, 0), (0, -columns % PANEL)))
    return padded.reshape(depth, -1, PANEL).swapaxes(0, 1)


def packed_products(rows: jax.Array, matrices: tuple[Packed, ...], dtype: jax.typing.DTypeLike) -> list[jax.Array]:
    """Returns the products [R, N] of rows [R, K] with each of several matrices of one type, rounded once to `dtype`.

    Rows and results are float32 or bfloat16. For matrices in int8 a row is rounded to int8 too, with its largest
    magnitude over 127 as its scale: an element is (sum · scale of the column) · scale of the row. A row that is not
    finite becomes NaN. Rows of zeros cost nothing: their results are zeros, as long as the matrix is finite.
    """
    assert rows.dtype in (jnp.float32, jnp.bfloat16), "a type of the kernel"
    assert {matrix.depth for matrix in matrices} == {rows.shape[1]}, "rows and matrices of one depth"
    results = [jax.ShapeDtypeStruct((len(rows), matrix.columns), dtype) for matrix in matrices]
    operands = [array for matrix in matrices for array in (matrix.panels, matrix.scales) if array is not None]
    return list(jax.ffi.ffi_call("palmetto_packed_products", results)(rows, *operands))
