"""Matrices in int8 with a float32 scale for each output channel, as any platform computes with them.

Activations stay as they are: a product multiplies them with the whole numbers, which their type holds exactly, and
scales its float32 sums afterwards. So a compiled step reads a quarter of the bytes that it would in float32. On a CPU
the kernels of `native` round activations too (native/packed.py).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

LARGEST = 127
"""The largest magnitude of a value; −128 is not used, so that zero is in the middle."""


class Int8(NamedTuple):
    """Holds a matrix, or one for each expert, as whole numbers times a scale for each output channel.

    It is a pytree of two arrays. Devices divide `values` as they would the matrix, and `scales` where it is not 1.
    """

    values: jax.Array
    """The whole numbers from −127 to 127, int8, in the matrix's shape."""
    scales: jax.Array
    """The scales, float32, in the matrix's shape but 1 along the inputs: [1, n_out], or [n_out, 1] if transposed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix's shape."""
        return self.values.shape

    @property
    def dtype(self) -> Any:
        return self.values.dtype

    @property
    def mT(self) -> "Int8":
        """The matrix with its last two axes swapped."""
        return Int8(self.values.mT, self.scales.mT)


def quantize(matrix: jax.Array, channels: int) -> Int8:
    """Returns a float32 matrix in int8; the axis `channels`, −1 or −2, counts its outputs.

    The scale of a channel is its largest magnitude over 127, so that no value is off by more than half a scale.
    """
    largest = jnp.max(jnp.abs(matrix), axis=-3 - channels, keepdims=True)
    scales = jnp.where(largest > 0, largest, 1) / LARGEST
    return Int8(jnp.round(matrix / scales).astype(jnp.int8), scales)


def widened(matrix: jax.Array | Int8) -> jax.Array:
    """Returns a matrix in float32 if it is in int8, else as it is."""
    return matrix.values * matrix.scales if isinstance(matrix, Int8) else matrix


def multiply(x: jax.Array, matrix: Int8, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Returns the product [..., n_out] of x [..., n_in] with a matrix [n_in, n_out], rounded once to `dtype`."""
    sums = jnp.matmul(x, matrix.values.astype(x.dtype), preferred_element_type=jnp.float32)
    return (sums * matrix.scales[0]).astype(dtype)
