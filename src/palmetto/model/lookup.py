"""Embedding lookup with a deterministic gradient: each row's gradient is a sum over the places that looked it up.

Such a sum is a scatter with colliding indices, whose order is undefined on a GPU; XLA's deterministic scatter sorts all
elements, D times as many as there are rows. On GPUs the rows are sorted here instead and summed as a tree.
"""

import jax
import jax.numpy as jnp

from palmetto.model.int8 import Int8, widened
from palmetto.native.packed import Packed


@jax.custom_vjp
def lookup(table: jax.Array, numbers: jax.Array) -> jax.Array:
    """Returns the rows `numbers` [...] of a table [V, D], shape [..., D]; decoding may hold it as held.py says."""
    if isinstance(table, Packed):
        return table.column(numbers)
    return widened(Int8(table.values[numbers], table.scales[numbers])) if isinstance(table, Int8) else table[numbers]


def _backward(kept: tuple[jax.Array, jax.Array], d: jax.Array) -> tuple[jax.Array, None]:
    table, numbers = kept

    def scatter(d: jax.Array) -> jax.Array:
        return jax.vjp(lambda table: table[numbers], table)[1](d)[0]

    def tree(d: jax.Array) -> jax.Array:
        return sum_alike(d.reshape(-1, d.shape[-1]), numbers.reshape(-1), len(table))

    return jax.lax.platform_dependent(d, cuda=tree, rocm=tree, default=scatter), None


lookup.defvjp(lambda table, numbers: (lookup(table, numbers), (table, numbers)), _backward)


def sum_alike(rows: jax.Array, numbers: jax.Array, count: int) -> jax.Array:
    """Returns [count, D] whose row v is the sum of those of `rows` [N, D] whose number [N] is v, in a fixed order."""
    order = jnp.argsort(numbers)
    numbers, rows = numbers[order], rows[order]
    changes = numbers[1:] != numbers[:-1]
    starts, ends = jnp.pad(changes, (1, 0), constant_values=True), jnp.pad(changes, (0, 1), constant_values=True)

    def add(a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Combines two adjacent segments, each (whether a new number starts in it, its sum since the last start)."""
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] + b[1])

    _, sums = jax.lax.associative_scan(add, (starts[:, None], rows))
    # The indices are unique, so that no order need be fixed; those beyond the table are dropped.
    places = jnp.where(ends, numbers, count + jnp.arange(len(numbers)))
    return jnp.zeros((count, rows.shape[1]), rows.dtype).at[places].set(sums, mode="drop", unique_indices=True)
