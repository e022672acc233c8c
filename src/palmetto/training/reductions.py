"""Sums in one fixed binary tree, so that they have the same bits however the terms are spread over devices or time.

Floating-point addition is not associative: a sum is reproducible only if its tree is. Here the tree belongs to the
problem, not to the layout: its leaves are a batch's micro-batches in order, or fixed chunks of a matrix's rows.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp

Leaf = TypeVar("Leaf")
Tree = TypeVar("Tree")

_MOST_CHUNKS = 256


def sum_over_leaves(function: Callable[[Leaf], Tree], leaves: Leaf) -> Tree:
    """Σ function(leaf) over leaves, a pytree of arrays [n, …], n a power of two, pairing neighbours first:
    ((0+1)+(2+3))+((4+5)+(6+7)).

    Each half is summed by itself, the one after the other, with log2(n) partial sums alive; the loops nest, so that
    the function is compiled once. The result is a pytree as `function` returns it.
    """
    n = jax.tree.leaves(leaves)[0].shape[0]
    assert n > 0, "an empty sum has no tree"
    assert n & (n - 1) == 0, "the number of leaves must be a power of two"
    if n == 1:
        return function(jax.tree.map(lambda array: array[0], leaves))
    # The halves' sums are stored before they are added: inside one expression the compiler would join a leaf's last
    # product and the addition in one rounding, and other splits of the tree would give other bits.
    halved = jax.tree.map(lambda array: array.reshape(2, n // 2, *array.shape[1:]), leaves)
    halves = jax.lax.map(lambda half: sum_over_leaves(function, half), halved)
    total: Tree = jax.tree.map(lambda pair: pair[0] + pair[1], halves)
    return total


def pairwise_sum(terms: jax.Array) -> jax.Array:
    """Σ over the leading axis in the tree of `sum_over_leaves`, padded with zeros to a power of two."""
    n = terms.shape[0]
    size = 1 << max(0, n - 1).bit_length()
    terms = jnp.pad(terms, [(0, size - n)] + [(0, 0)] * (terms.ndim - 1))
    while terms.shape[0] > 1:
        terms = terms[0::2] + terms[1::2]
    return terms[0]


def mean(array: jax.Array, axis: int) -> jax.Array:
    """The mean over an axis: sums of fixed chunks of it in order, then the chunks in the tree."""
    axis %= array.ndim
    size = array.shape[axis]
    chunks = _chunks(size)
    parts = jnp.sum(array.reshape(*array.shape[:axis], chunks, -1, *array.shape[axis + 1 :]), axis=axis + 1)
    return pairwise_sum(jnp.moveaxis(parts, axis, 0)) / size


def sum_of_squares(array: jax.Array, stack: int) -> jax.Array:
    """Σ x² of each logical matrix in float32, shaped as the `stack` leading axes, which count matrices.

    The rows of a matrix are summed in fixed chunks, as many as a power of two up to 256 divides them into, and the
    chunks in the tree: a device that holds whole chunks can compute its part with the same bits.
    """
    parts = jnp.square(array.astype(jnp.float32)).reshape(*array.shape[:stack], _chunks(array.shape[stack]), -1)
    return pairwise_sum(jnp.moveaxis(jnp.sum(parts, axis=-1), -1, 0))


def root_mean_square(array: jax.Array, stack: int) -> jax.Array:
    """√mean(x²) of each logical matrix, shaped to broadcast against `array`, whose `stack` leading axes count them."""
    rms = jnp.sqrt(sum_of_squares(array, stack) / math.prod(array.shape[stack:]))
    return rms.reshape(*rms.shape, *[1] * (array.ndim - stack))


def global_norm(arrays: Mapping[str, jax.Array], stacks: Mapping[str, int]) -> jax.Array:
    """√Σ x² over all logical matrices, taken in the order of their names, a float32 scalar.

    `stacks` says of each array how many of its leading axes count matrices.
    """
    sums = [sum_of_squares(arrays[name], stacks[name]).reshape(-1) for name in sorted(arrays)]
    return jnp.sqrt(pairwise_sum(jnp.concatenate(sums)))


def _chunks(size: int) -> int:
    """The number of equal parts of an axis that the tree takes as its leaves."""
    return min(_MOST_CHUNKS, size & -size)
