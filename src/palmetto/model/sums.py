"""Sums whose bits do not depend on how many others are taken beside them.

How XLA orders the terms of a reduction depends on the array's shape, and whether it rounds a product before adding it
on what else it compiles. Where devices each hold some rows of a matrix, neither must be: here a sum is additions of
halves, element by element, and a product is rounded.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec


def rounded(product: jax.Array) -> jax.Array:
    """A product as it is, kept from becoming a part of a fused multiply–add: a choice stands between the two."""
    return jnp.where(product == product, product, jnp.nan)


def identity(x: jax.Array) -> jax.Array:
    """x itself."""
    return x


def fold(array: jax.Array, axis: int, parts: int = 1, of: Callable[[jax.Array], jax.Array] = identity) -> jax.Array:
    """The sum over an axis of what `of` makes of each element: the axis's first half added to its second, and so on;
    odd lengths are filled up with a zero, of which `of` makes zero.

    `parts`: the axis lies in so many equal parts on devices along the mesh's axis `model`, each folded by itself and
    then added up by the platform.
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
        # Up to three levels at a time, each of which would go through memory by itself.
        terms = jnp.split(array, next(n for n in (8, 4, 2) if array.shape[axis] % n == 0), axis=axis)
        terms, of = [of(term) for term in terms], identity
        while len(terms) > 1:
            half = len(terms) // 2
            terms = [low + high for low, high in zip(terms[:half], terms[half:], strict=True)]
        array = _stored(terms[0])
    return jnp.squeeze(array, axis)


def _stored(sums: jax.Array) -> jax.Array:
    """The sums of a few levels, on a GPU in memory: XLA would make one kernel of all levels, whose threads read what
    lies far apart, and take long to compile it."""
    return jax.lax.optimization_barrier(sums) if jax.default_backend() == "gpu" else sums


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def scale_rows(scale: jax.Array, kernel: jax.Array, parts: int) -> jax.Array:
    """Row i of each kernel [..., n, m] times scale[..., i]; `scale` lacks the axes that the kernels of experts have.

    `parts`: of a row on devices along the axis `model`, for the derivative's sum over it.
    """
    return _beside(scale, kernel) * kernel


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def summed_back(x: jax.Array, axis: str) -> jax.Array:
    """x itself, whose derivative is the sum of those that devices along an axis of the mesh have."""
    return x


summed_back.defvjp(lambda x, axis: (x, None), lambda axis, _, d: (jax.lax.psum(d, axis),))


def _beside(scale: jax.Array, kernel: jax.Array) -> jax.Array:
    lacking = kernel.ndim - scale.ndim - 1
    return scale.reshape(*scale.shape[:-1], *[1] * lacking, -1, 1)


def _scale_rows_backward(parts: int, kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, jax.Array]:
    scale, kernel = kept
    d_scale = fold(rounded(d * kernel), -1, parts)
    while d_scale.ndim > scale.ndim:
        d_scale = fold(d_scale, -2)
    return d_scale, _beside(scale, kernel) * d


scale_rows.defvjp(
    lambda scale, kernel, parts: (scale_rows(scale, kernel, parts), (scale, kernel)), _scale_rows_backward
)
