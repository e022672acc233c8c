"""A sum in the tree of `training.reductions.sum_over_leaves`, whose leaves come one after the other.

It is a binary counter: level i holds the sum of 2^i neighbours that waits for its other half. As in a counter, a leaf
that comes is carried up as far as the levels below are taken.
"""

from typing import Any

import jax
import jax.numpy as jnp

Levels = Any
"""A pytree of a leaf's shapes with a leading axis for the levels."""


def no_leaves(like: Any, count: int) -> Levels:
    """Returns empty levels for `count` leaves, pytrees shaped as `like`."""
    return jax.tree.map(lambda leaf: jnp.zeros((count.bit_length(), *leaf.shape), leaf.dtype), like)


def add_leaf(levels: Levels, number: jax.Array, leaf: Any) -> Levels:
    """Returns the levels with the leaf of this number, which counts from 0; unchanged if the number is below 0.

    The loop's sums are stored before more is added to them, so that the compiler cannot join a leaf's last product and
    an addition in one rounding.
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
    """Returns the entries at one place of the leading axis of a pytree's arrays."""
    return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, place, keepdims=False), stacked)


def put(stacked: Any, place: jax.Array, new: Any, condition: jax.Array) -> Any:
    """Returns the stacked arrays with `new` at one place of their leading axis, if the condition holds."""
    chosen = jax.tree.map(lambda ours, old: jnp.where(condition, ours, old), new, at(stacked, place))
    return jax.tree.map(lambda array, x: jax.lax.dynamic_update_index_in_dim(array, x, place, axis=0), stacked, chosen)
