"""Attention masks: computes which keys a query sees, by arithmetic on positions that works in NumPy and in JAX.

A position always sees itself. `visible` compares positions; `block_pairs` compares blocks of positions without
visiting their positions one by one.
"""

from typing import Any, TypeVar

import jax
import numpy as np
import numpy.typing as npt

from palmetto.recipe.parts import Attention, Blocks

Array = TypeVar("Array", npt.NDArray[Any], jax.Array)


def visible(attention: Attention, queries: Array, keys: Array) -> Array:
    """Returns whether the positions `queries` see the positions `keys`: bool, for integers that broadcast.

    If the attention searches for keys, the result covers only the keys that are seen without a search.
    """
    seen: Array = (queries >= keys) & attention.sees(queries, keys)
    return seen


def with_prefix(seen: Array, queries: Array, keys: Array, prefix: Array) -> Array:
    """Returns `seen`, extended so that all positions before `prefix` see each other: bool; the arguments broadcast."""
    return seen | ((queries < prefix) & (keys < prefix))


def block_pairs(attention: Attention | None, length: int, query_rows: int, key_rows: int) -> npt.NDArray[np.int32]:
    """Returns the sorted pairs (query block, key block) of `length` positions that contain a visible key: int32 [P, 2].

    Query block i starts at position i · query_rows and the last block may be shorter; key blocks likewise.
    attention: None for no mask, which a prefix of any length requires.
    Time and memory are O(length² / (query_rows · key_rows)).
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
