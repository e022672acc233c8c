"""Sums across devices in the gradient's fixed tree, and gathers whose derivatives are such sums.

All of it is called inside `jax.shard_map`. The tree's lowest levels lie across the devices of an axis: device p holds
the leaf whose low bits are p's reversed, so that the pairs of a level are p and p ± half, quarter, …, the halves that
they exchange are contiguous, and the part that a device ends with is the p-th, where a NamedSharding has it.
Addition of two numbers commutes, so that both of a pair get the same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded


class Group(NamedTuple):
    """The devices along one axis of the mesh."""

    axis: str
    size: int
    elastic: bool
    """Sums in the tree, whatever the size; or by the platform's own collectives, in an order that they choose."""


Along = Callable[[jax.Array, int, Group], jax.Array]
"""(array, dimension, group) → array: what is done along a dimension that the group divides."""
Among = Callable[[jax.Array, Group], jax.Array]


def reversed_bits(n: int) -> list[int]:
    """The numbers 0 … n − 1, n a power of two, each with its bits in reverse order."""
    assert n & (n - 1) == 0, "only a power of two has such numbers"
    order = [0]
    while len(order) < n:
        order = [2 * i for i in order] + [2 * i + 1 for i in order]
    return order


def gather(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """The parts that the devices hold, joined along a dimension."""
    return x if group.size == 1 else jax.lax.all_gather(x, group.axis, axis=dimension, tiled=True)


def own_part(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """The inverse of `gather`: this device's part."""
    if group.size == 1:
        return x
    length = x.shape[dimension] // group.size
    start = jax.lax.axis_index(group.axis) * length
    return jax.lax.dynamic_slice_in_dim(x, start, length, dimension)


def reduce_scatter(x: jax.Array, dimension: int, group: Group) -> jax.Array:
    """This device's part, along a dimension that the group's size divides, of the sum over the group.

    In an elastic one, whose size is a power of two, by log2(size) exchanges of ever smaller halves.
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
    """The sum over the group, on each of its devices."""
    if group.size == 1:
        return x
    if not group.elastic:
        return jax.lax.psum(x, group.axis)
    if group.size > 2 and x.size % group.size == 0:  # in halves it moves fewer bytes
        return gather(reduce_scatter(x.reshape(-1), 0, group), 0, group).reshape(x.shape)
    x, distance = rounded(x), group.size // 2
    while distance:
        x = x + _exchange(x, distance, group)
        distance //= 2
    return x


def _exchange(x: jax.Array, distance: int, group: Group) -> jax.Array:
    """x of the device `distance` away, to which this device's goes."""
    return jax.lax.ppermute(x, group.axis, [(i, i ^ distance) for i in range(group.size)])


@partial(jax.custom_vjp, nondiff_argnames=("dimension", "group", "travels_as"))
def gathered(part: jax.Array, dimension: int, group: Group, travels_as: str = "float32") -> jax.Array:
    """`gather`, whose derivative is `reduce_scatter`: a float32 weight of which each device holds a part.

    It travels in another type where it is cast to that anyway, once whole; its gradient is float32 all the way.
    """
    return gather(part.astype(travels_as), dimension, group).astype(part.dtype)


gathered.defvjp(
    lambda part, dimension, group, travels_as: (gathered(part, dimension, group, travels_as), None),
    lambda dimension, group, travels_as, _, d: (reduce_scatter(d, dimension, group),),
)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def shared(x: jax.Array, group: Group) -> jax.Array:
    """x itself, whose derivative is `all_reduce`: a weight that each device holds whole."""
    return x


shared.defvjp(lambda x, group: (x, None), lambda group, _, d: (all_reduce(d, group),))
