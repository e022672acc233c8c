"""Sums whose bits do not depend on the shape of the array that they are part of.

XLA chooses the order of a reduction by the array's shape, and decides whether a product is rounded before it is added
by what else it compiles. If devices each hold some rows of a matrix, neither may vary: here a sum is computed by adding
halves element by element, and products are rounded.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec


def rounded(product: jax.Array) -> jax.Array:
    """Returns the product unchanged; the select around it prevents fusion with an addition (FMA)."""
    return jnp.where(product == product, product, jnp.nan)


def identity(x: jax.Array) -> jax.Array:
    """Returns x."""
    return x


def fold(array: jax.Array, axis: int, parts: int = 1, of: Callable[[jax.Array], jax.Array] = identity) -> jax.Array:
    """Returns the sum of of(element) over an axis, computed by repeatedly adding its first half to its second.

    Odd lengths are padded with a zero, so of(0) must be 0. `parts`: the number of equal parts in which the axis is
    divided over devices along the mesh's axis `model`; each part is folded separately, then XLA adds the results.
    """
    axis %= array.ndim
    if parts > 1:
        spec = PartitionSpec(*("model" if d == axis else None for d in range(array.ndim)))
        own = jax.shard_map(
            lambda part: jnp.expand_dims(fold(part, axis, of=of), axis),
            in_specs=spec,
            out_specs=spec,
            axis_names={"model"},
            check_vma=False,
        )
        return jnp.sum(own(array), axis=axis)
    if array.shape[axis] == 1:
        return jnp.squeeze(of(array), axis)
    while (size := array.shape[axis]) > 1:
        if size % 2:
            array = jnp.pad(array, [(0, int(d == axis)) for d in range(array.ndim)])
        # Up to three levels at a time: separately, each would pass through memory.
        terms = jnp.split(array, next(n for n in (8, 4, 2) if array.shape[axis] % n == 0), axis=axis)
        terms, of = [of(term) for term in terms], identity
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [low + high for low, high in zip(terms[:half], terms[half:], strict=True)]
        array = _stored(terms[0])
    return jnp.squeeze(array, axis)


def _stored(sums: jax.Array) -> jax.Array:
    """Returns the sums; on a GPU a barrier stores them in memory.

    XLA would otherwise fuse all levels into one kernel, which reads distant addresses and takes long to compile.
    """
    return jax.lax.optimization_barrier(sums) if jax.default_backend() == "gpu" else sums


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def scale_rows(scale: jax.Array, kernel: jax.Array, parts: int) -> jax.Array:
    """Returns kernels [..., n, m] with row i multiplied by scale[..., i]; `scale` has no axis for experts.

    `parts`: the number of parts in which a row is divided along the axis `model`; the derivative sums over the row.
    """
    return _broadcast_rows(scale, kernel) * kernel


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def summed_back(x: jax.Array, axis: str) -> jax.Array:
    """Returns x; its derivative is summed over the devices along an axis of the mesh."""
    return x


summed_back.defvjp(lambda x, axis: (x, None), lambda axis, _, d: (jax.lax.psum(d, axis),))


def _broadcast_rows(scale: jax.Array, kernel: jax.Array) -> jax.Array:
    lacking = kernel.ndim - scale.ndim - 1
    return scale.reshape(*scale.shape[:-1], *[1] * lacking, -1, 1)


def _scale_rows_backward(parts: int, kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    scale, kernel = kept
    d_scale = fold(rounded(d * kernel), -1, parts)
    while d_scale.ndim > scale.ndim:
        d_scale = fold(d_scale, -2)
    return d_scale, _broadcast_rows(scale, kernel) * d


scale_rows.defvjp(
    lambda scale, kernel, parts: (scale_rows(scale, kernel, parts), (scale, kernel)), _scale_rows_backward
)
