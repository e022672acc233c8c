"""Sums across devices in the gradient's fixed tree, and gathers whose derivatives are such sums.

All functions are called inside `jax.shard_map`. The tree's lowest levels run across the devices of an axis: device p
holds the leaf whose low bits are those of p reversed. So device p is paired with p ± half the axis, then ± a quarter,
and so on; the halves that a pair exchanges are contiguous, and device p ends with part p, where a NamedSharding expects
it. Addition commutes, so that both devices of a pair get the same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded


class Group(NamedTuple):
    """Describes the devices along one axis of the mesh."""

    axis: str
    size: int
    elastic: bool
    """True if they sum in the tree, whose bits do not depend on the size; False if by the platform's collectives."""


Along = Callable[[jax.Array, int, Group], jax.Array]
"""(array, dimension, group) → array: a collective along a dimension that is divided over the group."""
Among = Callable[[jax.Array, Group], jax.Array]
"""(array, group) → array: a collective on an array that each device of the group holds whole."""


def reversed_bits(n: int) -> list[int]:
    """Returns the numbers 0 … n − 1, each with its bits in reverse order; n must be a power of two."""
    assert n & (n - 1) == 0, "only a power of two has such numbers"
    order = [0]
    while len(order) < n:
        order = [2 * i for i in order] + [2 * i + 1 for i in order]
    return order


def gather(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """Returns the parts of all devices of the group, joined along a dimension."""
    return x if group.size == 1 else jax.lax.all_gather(x, group.axis, axis=dimension, tiled=True)


def own_part(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """Returns this device's part along a dimension; it is the inverse of `gather`."""
    if group.size == 1:
        return x
    length = x.shape[dimension] // group.size
    start = jax.lax.axis_index(group.axis) * length
    return jax.lax.dynamic_slice_in_dim(x, start, length, dimension)


def reduce_scatter(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """Returns this device's part of the sum over the group, along a dimension that the group's size divides.

    An elastic group, whose size is a power of two, exchanges log2(size) times, each time half of what remains.
    """
    if group.size == 1:
        return x
    if not group.elastic:
        return jax.lax.psum_scatter(x, group.axis, scatter_dimension=dimension, tiled=True)
    x, distance = rounded(x), group.size // 2
    while distance:
        upper = (jax.lax.axis_index(group.axis) & distance) != 0
        low, high = jnp.split(x, 2, axis=dimension)
        received = _exchange(jnp.where(upper, low, high), distance, group)
        x = jnp.where(upper, high, low) + received
        distance //= 2
    return x


def all_reduce(x: jax.Array, group: Group) -> jax.Array:
    """Returns the sum over the group on each of its devices."""
    if group.size == 1:
        return x
    if not group.elastic:
        return jax.lax.psum(x, group.axis)
    if group.size > 2 and x.size % group.size == 0:  # exchanging halves moves fewer bytes
        return gather(reduce_scatter(x.reshape(-1), 0, group), 0, group).reshape(x.shape)
    x, distance = rounded(x), group.size // 2
    while distance:
        x = x + _exchange(x, distance, group)
        distance //= 2
    return x


def _exchange(x: jax.Array, distance: int, group: Group) -> jax.Array:
    """Returns x from the device `distance` away and sends it this device's x."""
    return jax.lax.ppermute(x, group.axis, [(i, i ^ distance) for i in range(group.size)])


@partial(jax.custom_vjp, nondiff_argnames=("dimension", "group", "travels_as"))
def gathered(part: jax.Array, dimension: int, group: Group, travels_as: str = "float32") -> jax.Array:
    """Returns the whole of a float32 weight of which each device holds a part; the derivative is `reduce_scatter`.

    `travels_as` is the type in which the weight is sent, for weights that are cast to it anyway. The gradient is sent
    in float32.
    """
    return gather(part.astype(travels_as), dimension, group).astype(part.dtype)


gathered.defvjp(
    lambda part, dimension, group, travels_as: (gathered(part, dimension, group, travels_as), None),
    lambda dimension, group, travels_as, _, d: (reduce_scatter(d, dimension, group),),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def shared(x: jax.Array, group: Group) -> jax.Array:
    """Returns a weight x that each device holds whole; the derivative is `all_reduce`."""
    return x


shared.defvjp(lambda x, group: (x, None), lambda group, _, d: (all_reduce(d, group),))
