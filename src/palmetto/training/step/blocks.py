"""A scan over blocks of rows, so that memory holds the intermediate values of one block at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

Arrays = Sequence[jax.Array]
Carry = TypeVar("Carry")


def scan_blocks(
    function: Callable[[Carry, Arrays], tuple[Carry, jax.Array]], initial: Carry, arrays: Arrays, size: int
) -> tuple[Carry, jax.Array]:
    """Returns the last carry, and the results of all blocks joined along the first axis.

    The arrays have the same number of rows. A block has `size` rows, and the last one what is left. An unrolled loop
    would not do: XLA's schedule on a CPU computes parts of all blocks first and keeps them.
    """
    count = len(arrays[0])
    if count <= size:
        return function(initial, arrays)
    whole = count // size * size
    blocks = [each[:whole].reshape(-1, size, *each.shape[1:]) for each in arrays]
    carry, results = jax.lax.scan(function, initial, blocks)
    results = results.reshape(whole, *results.shape[2:])
    if whole < count:
        carry, last = function(carry, [each[whole:] for each in arrays])
        results = jnp.concatenate([results, last])
    return carry, results
