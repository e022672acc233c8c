"""Sums in one fixed binary tree, whose bits do not depend on how the terms are distributed over devices or time.

Floating-point addition is not associative: a sum is reproducible only if its tree is. Here the tree depends on the
problem, not on the mesh: its leaves are a batch's micro-batches in order, or fixed chunks of a matrix's rows.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp

from palmetto.model.sums import fold, identity, rounded
from palmetto.parallel import collectives
from palmetto.parallel.collectives import Group
from palmetto.parallel.sharding import ALONE, Axes, Spread, apart
from palmetto.recipe.mesh import MOST_DATA

Leaf = TypeVar("Leaf")
Tree = TypeVar("Tree")


def sum_over_leaves(
    function: Callable[[Leaf], Tree],
    leaves: Leaf,
    *,
    reduce: Callable[[Tree], Tree] = lambda tree: tree,
    always_in_loop: bool = False,
) -> Tree:
    """Returns Σ reduce(function(leaf)) over leaves, pairing neighbours first: ((0+1)+(2+3))+((4+5)+(6+7)).

    `leaves` is a pytree of arrays [n, …], n a power of two; the result is a pytree as `reduce` returns it. The halves
    are summed one after the other, with log2(n) partial sums alive; the loops nest, so that the function is compiled
    once. It is compiled in a loop of its own, without `reduce`, so that the use of its results does not change how it
    is compiled. With `always_in_loop` this holds for a single leaf too.
    """
    n = jax.tree.leaves(leaves)[0].shape[0]
    assert n > 0, "an empty sum has no tree"
    assert n & (n - 1) == 0, "the number of leaves must be a power of two"
    if n == 1:
        return reduce(_in_loop(function, leaves) if always_in_loop else function(_entry(leaves, 0)))
    # The sums of the halves are stored before they are added: in one expression the compiler would fuse a leaf's last
    # product with the addition, and other splits of the tree would give other bits.
    halved = jax.tree.map(lambda array: array.reshape(2, n // 2, *array.shape[1:]), leaves)
    if n == 2:
        stored = jax.lax.map(lambda half: function(_entry(half, 0)), halved)
        low, high = reduce(_entry(stored, 0)), reduce(_entry(stored, 1))
    else:
        stored = jax.lax.map(lambda half: sum_over_leaves(function, half, reduce=reduce), halved)
        low, high = _entry(stored, 0), _entry(stored, 1)
    total: Tree = jax.tree.map(jnp.add, low, high)
    return total


def _entry(tree: Tree, number: int) -> Tree:
    """Returns one entry of the leading axis of a pytree's arrays."""
    entry: Tree = jax.tree.map(lambda array: array[number], tree)
    return entry


def _in_loop(function: Callable[[Leaf], Tree], leaves: Leaf) -> Tree:
    """Returns function(leaf) of the one leaf in arrays [1, …], computed in the second iteration of a loop of two.

    Outside a loop the compiler would fuse the function with the code around it and choose other layouts and routines
    for its matrix products; a loop that it knew to run once, it would unroll. This loop looks to the compiler like
    `jax.lax.map` over two halves in `sum_over_leaves`. The function is called rather than inlined, because inlining
    would simplify it together with the rest, which changes roundings too.
    """
    halves = jax.tree.map(lambda array: jnp.stack([array, array]), leaves)
    called = jax.jit(lambda half: function(_entry(half, 0)))
    shapes = jax.eval_shape(called, leaves)
    results = jax.tree.map(lambda shape: jnp.zeros((2, *shape.shape), shape.dtype), shapes)

    def take(carry: tuple[jax.Array, Tree]) -> tuple[jax.Array, Tree]:
        number, results = carry
        half = jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, number, keepdims=False), halves)
        put = partial(jax.lax.dynamic_update_index_in_dim, index=number, axis=0)
        stored: Tree = jax.tree.map(put, results, called(half))
        return number + 1, stored

    second = jax.lax.optimization_barrier(jnp.int32(1))  # hides the value, so that the compiler keeps the loop
    _, results = jax.lax.while_loop(lambda carry: carry[0] < 2, take, (second, results))
    return _entry(results, 1)


def mean(array: jax.Array, axis: int, spread: Spread) -> jax.Array:
    """Returns the mean over an axis of an array that is distributed as `spread` says.

    An axis that a group may divide is summed by chunks, as in `sum_of_squares`; an axis that XLA shards is summed part
    by part.
    """
    axis %= array.ndim
    parts = _parts(spread, axis)
    if parts > 1:
        return fold(array, axis, parts) / array.shape[axis]
    group = spread.group if axis == spread.stack + spread.along else ALONE
    axes = tuple("model" if _parts(spread, d) > 1 else None for d in range(array.ndim))
    return _sum_by_chunks(array, axis, group, axes) / (array.shape[axis] * group.size)


def _parts(spread: Spread, axis: int) -> int:
    """Returns the number of parts that XLA shards an axis into."""
    return spread.parts[axis - spread.stack] if spread.parts and axis >= spread.stack else 1


def sum_of_squares(array: jax.Array, spread: Spread) -> jax.Array:
    """Returns Σ x² of each logical matrix in float32, shaped as the leading axes that count matrices.

    Each row across the axis `spread.along` is summed first, then equal chunks of that axis, then the sums of the
    chunks. The number of chunks is the largest power of two up to 1024 that divides the axis, so that devices which
    hold whole chunks give the same bits.
    """
    sums, along = array, spread.stack + spread.along
    of: Callable[[jax.Array], jax.Array] = _square
    for axis in reversed(range(spread.stack, array.ndim)):
        if axis != along:
            sums, of = fold(sums, axis, _parts(spread, axis), of), identity
    return _sum_by_chunks(of(sums), spread.stack, spread.group)


def _square(array: jax.Array) -> jax.Array:
    return rounded(jnp.square(array.astype(jnp.float32)))


def _sum_by_chunks(array: jax.Array, axis: int, group: Group, axes: Axes = ()) -> jax.Array:
    """Returns the sum over an axis that a group divides; `axes` name those that lie along the mesh's axis model."""
    size = array.shape[axis] * group.size
    chunks = min(MOST_DATA, size & -size)
    assert chunks % group.size == 0, "a device holds whole chunks"
    cut = array.reshape(*array.shape[:axis], chunks // group.size, -1, *array.shape[axis + 1 :])
    chunk_sums = apart(lambda sums: collectives.gather(sums, axis, group), fold(cut, axis + 1), axes)
    return fold(chunk_sums, axis)


def root_mean_square(array: jax.Array, spread: Spread) -> jax.Array:
    """Returns √mean(x²) of each logical matrix, shaped to broadcast against `array`."""
    count = math.prod(array.shape[spread.stack :]) * spread.group.size
    rms = jnp.sqrt(sum_of_squares(array, spread) / float(count))
    return rms.reshape(*rms.shape, *[1] * (array.ndim - spread.stack))


def global_norm(arrays: Mapping[str, jax.Array], spreads: Mapping[str, Spread]) -> jax.Array:
    """Returns √Σ x² over all logical matrices in the order of their names, a float32 scalar."""
    sums = []
    for name in sorted(arrays):
        each = sum_of_squares(arrays[name], spreads[name])
        for axis, group in enumerate(spreads[name].stacked):
            each = collectives.gather(each, axis, group)
        sums.append(each.reshape(-1))
    return jnp.sqrt(fold(jnp.concatenate(sums), 0))
