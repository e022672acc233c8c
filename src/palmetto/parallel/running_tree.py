"""Sums leaves in the tree of `training.reductions.sum_over_leaves` as they arrive one after the other.

The state works like a binary counter: level i holds the sum of 2^i consecutive leaves until its sibling is complete. A
new leaf is carried up past the occupied levels, like a carry in a counter.
"""

from typing import Any

import jax
import jax.numpy as jnp

Levels = Any
"""A pytree of arrays shaped like a leaf's, with a leading axis for the levels."""


def no_leaves(like: Any, count: int) -> Levels:
    """Returns empty levels for `count` leaves, pytrees shaped like `like`."""
    return jax.tree.map(lambda leaf: jnp.zeros((count.bit_length(), *leaf.shape), leaf.dtype), like)


def add_leaf(levels: Levels, number: jax.Array, leaf: Any) -> Levels:
    """Returns the levels with leaf `number` added, counted from 0; a negative number leaves them unchanged.

    The loop stores each sum before the next addition, so that the compiler cannot fuse a leaf's last product and an
    addition into one operation with one rounding.
    """

    def carry(reached: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        level, total = reached
        return level + 1, jax.tree.map(jnp.add, at(levels, level), total)

    def is_taken(reached: tuple[jax.Array, Any]) -> jax.Array:
        return (number >= 0) & ((number >> reached[0]) & 1 == 1)

    level, total = jax.lax.while_loop(is_taken, carry, (jnp.int32(0), leaf))
    return put(levels, level, total, number >= 0)


def total(levels: Levels, count: int) -> Any:
    """Returns the sum of all `count` leaves."""
    taken = [level for level in range(count.bit_length()) if count >> level & 1]
    sums = [at(levels, level) for level in taken]
    result = sums[0]
    for above in sums[1:]:
        result = jax.tree.map(jnp.add, above, result)
    return result


def at(stacked: Any, place: jax.Array | int) -> Any:
    """Returns the entries of a pytree's arrays at index `place` of the leading axis."""
    return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, place, keepdims=False), stacked)


def put(stacked: Any, place: jax.Array, new: Any, condition: jax.Array) -> Any:
    """Returns the stacked arrays with `new` at index `place` of the leading axis, if the condition holds."""
    chosen = jax.tree.map(lambda ours, old: jnp.where(condition, ours, old), new, at(stacked, place))
    return jax.tree.map(lambda array, x: jax.lax.dynamic_update_index_in_dim(array, x, place, axis=0), stacked, chosen)
