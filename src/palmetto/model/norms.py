"""Normalization over the last axis, with statistics in float32 and the result in the input's type.

A norm is a function without parameters. Its learned scale is multiplied into the kernels that follow it if there are
any (layout.py), and applied by `normalize` otherwise.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from palmetto.model.products import by_native
from palmetto.native import pointwise

EPSILON = 1e-5

Norm = Callable[[jax.Array], jax.Array]


def layer(x: jax.Array) -> jax.Array:
    """Returns x normalized to mean 0 and variance 1: LayerNorm without its scale (arXiv 1607.06450)."""
    x32 = x.astype(jnp.float32)
    centred = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def rms(x: jax.Array) -> jax.Array:
    """Returns x normalized to mean square 1: RMSNorm without its scale (arXiv 1910.07467)."""
    x32 = x.astype(jnp.float32)
    return (x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)).astype(x.dtype)


NORMS: dict[str, Norm] = {"layer": layer, "rms": rms}


CENTRED: dict[Norm, bool] = {layer: True, rms: False}
"""The norms that the kernels of `native` compute, and whether each subtracts the mean."""


def normalize(
    norm: Norm, x: jax.Array, arrays: Mapping[str, jax.Array], name: str, *, native: bool = False
) -> jax.Array:
    """Returns norm(x) with the scale `name` and the bias `name`_bias applied, each [n], if `arrays` has them.

    native: use the kernels of `native` where there are such.
    """
    by_kernel = norm in CENTRED and by_native(x, native)
    normed = pointwise.normalize(x, CENTRED[norm], EPSILON) if by_kernel else norm(x)
    scale, bias = arrays.get(name), arrays.get(f"{name}_bias")
    if scale is not None:
        normed = normed * scale.astype(x.dtype)
    return normed if bias is None else normed + bias.astype(x.dtype)
