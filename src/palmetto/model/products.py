"""Matrix products of activations with kernels, with gradients in the form that computes fastest.

On a CPU the kernels of `native` compute them where there are such. XLA's CPU code has a fast routine for a·b and a·bᵀ
and a slow one for aᵀ·b, the form of every kernel's gradient. So the narrower matrix of such a product is first
transposed in memory, once for all products that need it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from palmetto.model.int8 import Int8, multiply
from palmetto.native.packed import Packed, packed_products
from palmetto.native.products import product

Kernels = tuple[jax.Array, ...]
"""Matrices of weights: float32 arrays while a model trains; while it decodes, in any form of held.py."""

HELD = (Packed, Int8)
"""The forms other than an array."""


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def project(x: jax.Array, kernels: Kernels, native: bool) -> Kernels:
    """Returns the products [..., F] of x [..., D] with each kernel [D, F], in x's dtype.

    native: use the kernels of `native`. Otherwise the gradient is fastest if D is the smaller dimension.
    """
    if isinstance(kernels[0], HELD):
        return held_products(x, kernels, x.dtype)
    if by_native(x, native):
        return tuple(_rows_like(x, product([(_rows(x), kernel)], x.dtype)) for kernel in kernels)
    return tuple(in_own_type(x, kernel.astype(x.dtype)) for kernel in kernels)


def _project_forward(x: jax.Array, kernels: Kernels, native: bool) -> tuple[Kernels, tuple[jax.Array, Kernels]]:
    return project(x, kernels, native), (x, kernels)


def _project_backward(native: bool, kept: tuple[jax.Array, Kernels], d: Kernels) -> tuple[jax.Array, Kernels]:
    x, kernels = kept
    rows = [_rows(dy) for dy in d]
    if by_native(x, native):
        dx = product(list(zip(rows, kernels, strict=True)), x.dtype, b_transposed=True)
        dkernels = tuple(product([(_rows(x), dy)], jnp.float32, a_transposed=True) for dy in rows)
        return _rows_like(x, dx), dkernels
    parts = (in_own_type(dy, kernel.astype(x.dtype).mT) for dy, kernel in zip(d, kernels, strict=True))
    dx = sum(parts, jnp.zeros((), x.dtype))
    turned = transposed(_rows(x))
    return dx, tuple(in_float32(turned, dy) for dy in rows)


project.defvjp(_project_forward, _project_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def project_back(x: jax.Array, kernel: jax.Array, native: bool) -> jax.Array:
    """Returns the product [..., D] of x [..., F] with a transposed kernel [D, F], in x's dtype.

    native: use the kernels of `native`. Otherwise the gradient is fastest if D is the smaller dimension.
    """
    if isinstance(kernel, HELD):
        return held_products(x, (kernel,), x.dtype, transposed=True)[0]
    if by_native(x, native):
        return _rows_like(x, product([(_rows(x), kernel)], x.dtype, b_transposed=True))
    return in_own_type(x, kernel.astype(x.dtype).mT)


def _back_forward(x: jax.Array, kernel: jax.Array, native: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return project_back(x, kernel, native), (x, kernel)


def _back_backward(native: bool, kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    if by_native(x, native):
        dx = product([(_rows(dy), kernel)], x.dtype)
        return _rows_like(x, dx), product([(_rows(dy), _rows(x))], jnp.float32, a_transposed=True)
    turned = transposed(_rows(dy))
    return in_own_type(dy, kernel.astype(x.dtype)), in_float32(turned, _rows(x))


project_back.defvjp(_back_forward, _back_backward)


def held_products(
    x: jax.Array, matrices: tuple[Any, ...], dtype: jax.typing.DTypeLike, *, transposed: bool = False
) -> Kernels:
    """Returns the products [..., n_out] of x [..., n_in] with matrices that are all `Packed` or all `Int8`, in `dtype`.

    The matrices are [n_in, n_out], or [n_out, n_in] if they are called transposed.
    """
    if isinstance(matrices[0], Packed):
        return tuple(_rows_like(x, y) for y in packed_products(_rows(x), matrices, dtype))
    return tuple(multiply(x, matrix.mT if transposed else matrix, dtype) for matrix in matrices)


def by_native(x: jax.Array, native: bool) -> bool:
    """Returns whether the kernels of `native` compute products of x: they have no float16."""
    return native and x.dtype in (jnp.float32, jnp.bfloat16)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _rows_like(x: jax.Array, rows: jax.Array) -> jax.Array:
    return rows.reshape(*x.shape[:-1], rows.shape[-1])


def in_own_type(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a·b in the type of a and b.

    In half precision a CPU computes it in float32 and rounds afterwards: its half-precision routine is half as fast.
    """
    if a.dtype == jnp.float32:
        return a @ b
    return jax.lax.platform_dependent(
        a, b, cpu=lambda a, b: jax.lax.optimization_barrier(in_float32(a, b)).astype(a.dtype), default=jnp.matmul
    )


def in_float32(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a·b in float32, batched over leading axes."""
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def transposed(x: jax.Array) -> jax.Array:
    """Returns x with its last two axes swapped.

    On a CPU they are swapped in memory too; the compiler would otherwise fold the transposition into the product.
    """
    return jax.lax.platform_dependent(x, cpu=lambda x: jax.lax.optimization_barrier(x.mT), default=lambda x: x.mT)
