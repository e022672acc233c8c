"""Sums in one fixed binary tree, so that they have the same bits however the terms are spread over devices or time.

Floating-point addition is not associative: a sum is reproducible only if its tree is. Here the tree belongs to the
problem, not to the layout: its leaves are a batch's micro-batches in order, or fixed chunks of a matrix's rows.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")

_MOST_CHUNKS = 256


def sum_over_leaves(function: Callable[[jax.Array], Tree], leaves: jax.Array) -> Tree:
    """Σ function(leaf) over leaves [n, …], n a power of two, pairing neighbours first: ((0+1)+(2+3))+((4+5)+(6+7)).

    Each half is summed by itself, the one after the other, with log2(n) partial sums alive; the loops nest, so that
    the function is compiled once. The result is a pytree as `function` returns it.
    """
    n = leaves.shape[0]
    assert n > 0, "an empty sum has no tree"
    assert n & (n - 1) == 0, "the number of leaves must be a power of two"
    if n == 1:
        return function(leaves[0])
    # The halves' sums are stored before they are added: inside one expression the compiler would join a leaf's last
    # product and the addition in one rounding, and other splits of the tree would give other bits.
    halves = jax.lax.map(lambda half: sum_over_leaves(function, half), leaves.reshape(2, n // 2, *leaves.shape[1:]))
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


def sum_of_squares(array: jax.Array, stacked: bool) -> jax.Array:
    """Σ x² of each logical matrix in float32: a scalar, or [layers] where the leading axis stacks them.

    The rows of a matrix are summed in fixed chunks, as many as a power of two up to 256 divides them into, and the
    chunks in the tree: a device that holds whole chunks can compute its part with the same bits.
    """
    matrices = array if stacked else array[None]
    rows = matrices.shape[1]
    chunks = min(_MOST_CHUNKS, rows & -rows)
    parts = jnp.sum(jnp.square(matrices.astype(jnp.float32)).reshape(matrices.shape[0], chunks, -1), axis=2)
    sums = pairwise_sum(parts.T)
    return sums if stacked else sums[0]


def root_mean_square(array: jax.Array, stacked: bool) -> jax.Array:
    """√mean(x²) of each logical matrix, shaped to broadcast against `array`."""
    matrix_size = array.size // array.shape[0] if stacked else array.size
    rms = jnp.sqrt(sum_of_squares(array, stacked) / matrix_size)
    return rms.reshape(-1, *[1] * (array.ndim - 1)) if stacked else rms


def global_norm(arrays: dict[str, jax.Array], stacked: frozenset[str]) -> jax.Array:
    """√Σ x² over all logical matrices, taken in the order of their names, a float32 scalar."""
    sums = [sum_of_squares(arrays[name], name in stacked).reshape(-1) for name in sorted(arrays)]
    return jnp.sqrt(pairwise_sum(jnp.concatenate(sums)))
