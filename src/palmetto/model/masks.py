"""Which keys a query may see, as arithmetic on positions that NumPy and JAX share; a position always sees itself.

`visible` says it of positions, `block_pairs` of blocks of them, without looking at their positions one by one.
"""

from typing import Any, TypeVar, assert_never

import jax
import numpy as np
import numpy.typing as npt

from palmetto.recipe.model import (
    Attention,
    FullAttention,
    LocalAttention,
    MemoryAttention,
    ParallelWindows,
    SinkAttention,
    StridedAttention,
)

Array = TypeVar("Array", npt.NDArray[Any], jax.Array)


def visible(attention: Attention, queries: Array, keys: Array) -> Array:
    """Whether the positions `queries` see the positions `keys`: integers that broadcast, to bool of that shape.

    Of a memory (arXiv 2203.08913) it says what the local window shows; what is found beyond is another's affair.
    """
    distance = queries - keys
    shown: Array
    match attention:
        case FullAttention():
            shown = distance >= 0
        case LocalAttention() | MemoryAttention():
            shown = distance < attention.window
        case StridedAttention():
            shown = (distance < attention.stride) | (distance % attention.stride == 0)
        case SinkAttention():
            shown = (distance < attention.window) | (keys < attention.sinks)
        case ParallelWindows():
            behind = queries >= attention.count * attention.window
            shown = behind | (queries // attention.window == keys // attention.window)
        case _:
            assert_never(attention)
    seen: Array = (distance >= 0) & shown
    return seen


def with_prefix(seen: Array, queries: Array, keys: Array, prefix: Array) -> Array:
    """`seen` and, besides, all positions before `prefix` by each other: bool, the arguments broadcast together."""
    return seen | ((queries < prefix) & (keys < prefix))


def block_pairs(attention: Attention | None, length: int, query_rows: int, key_rows: int) -> npt.NDArray[np.int32]:
    """The pairs (query block, key block) of `length` positions in which anything is visible, int32 [P, 2], sorted.

    Block i of queries holds positions i · query_rows up to the next block's, the last one what is left; keys alike.
    attention: None for no mask, as a prefix of any length needs.
    It takes memory for length² / (query_rows · key_rows) numbers, and no more time than that.
    """
    first, last = (ends[:, None] for ends in _ends(length, query_rows))
    first_key, last_key = (ends[None, :] for ends in _ends(length, key_rows))
    # The distances from keys in the past that occur between two blocks are all those from nearest to farthest.
    nearest, farthest = np.maximum(first - last_key, 0), last - first_key
    if attention is None:
        return np.argwhere(np.full(farthest.shape, True)).astype(np.int32)
    match attention:
        case FullAttention():
            shown = farthest >= 0
        case LocalAttention() | MemoryAttention():
            shown = nearest < attention.window
        case StridedAttention():
            shown = (nearest < attention.stride) | (farthest // attention.stride * attention.stride >= nearest)
        case SinkAttention():
            shown = (nearest < attention.window) | (first_key < attention.sinks)
        case ParallelWindows():
            windows = attention.count * attention.window
            # If any two positions share a window, the nearest two do.
            shared = first // attention.window == np.minimum(first, last_key) // attention.window
            shown = (last >= windows) | ((first < windows) & shared)
        case _:
            assert_never(attention)
    return np.argwhere((farthest >= 0) & shown).astype(np.int32)


def _ends(length: int, rows: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The first and the last position of each block."""
    first = np.arange(0, length, rows)
    return first, np.minimum(first + rows, length) - 1
