"""Which keys a query may see, as arithmetic on positions that NumPy and JAX share; a position always sees itself.

`visible` says it of positions, `block_pairs` of blocks of them, without looking at their positions one by one.
"""

from typing import Any, TypeVar

import jax
import numpy as np
import numpy.typing as npt

from palmetto.recipe.parts import Attention, Blocks

Array = TypeVar("Array", npt.NDArray[Any], jax.Array)


def visible(attention: Attention, queries: Array, keys: Array) -> Array:
    """Returns whether the positions `queries` see the positions `keys`: bool, for integers that broadcast.

    Of an attention that searches for keys it is what is seen without.
    """
    seen: Array = (queries >= keys) & attention.sees(queries, keys)
    return seen


def with_prefix(seen: Array, queries: Array, keys: Array, prefix: Array) -> Array:
    """Returns `seen` and, besides, all positions before `prefix` by each other: bool, the arguments broadcast."""
    return seen | ((queries < prefix) & (keys < prefix))


def block_pairs(attention: Attention | None, length: int, query_rows: int, key_rows: int) -> npt.NDArray[np.int32]:
    """Returns the pairs (query block, key block) of `length` positions in which anything is visible: int32 [P, 2].

    They are sorted. Block i of queries holds positions i · query_rows up to the next block's, the last one what is
    left; keys alike.
    attention: None for no mask, as a prefix of any length needs.
    It takes memory for length² / (query_rows · key_rows) numbers, and no more time than that.
    """
    first, last = (ends[:, None] for ends in _ends(length, query_rows))
    first_key, last_key = (ends[None, :] for ends in _ends(length, key_rows))
    blocks = Blocks(first, last, first_key, last_key)
    seen = blocks.farthest >= 0
    if attention is None:
        return np.argwhere(np.full(seen.shape, True)).astype(np.int32)
    return np.argwhere(seen & attention.sees_blocks(blocks)).astype(np.int32)


def _ends(length: int, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the first and the last position of each block."""
    first = np.arange(0, length, rows)
    return first, np.minimum(first + rows, length) - 1
