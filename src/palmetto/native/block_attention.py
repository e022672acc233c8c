"""Attention to keys and values in blocks on a CPU, by a kernel that reads them where they lie.

A row's terms are added in the order of their positions, so that its bits follow from its query and from the keys and
values that it sees: not from other rows, the number of rows or threads, the blocks, or the order of the table.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Seen(NamedTuple):
    """Says which positions each row sees: those below `end` that are below `kept` or at least `first`; int32 [R]."""

    kept: jax.Array
    first: jax.Array
    end: jax.Array


def attend_blocks(
    q: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    tables: jax.Array,
    starts: jax.Array,
    sequences: jax.Array,
    seen: Seen,
) -> jax.Array:
    """Returns the attention output [R, H, Q] of R rows, in q's type.

    q: the scaled queries [R, H, Q]; keys, values: N blocks [N, K, S, Q] of the same type, float32 or bfloat16, of which
    each head serves H/K queries in turn. tables, starts: the blocks of each sequence and their first positions, int32
    [B, M]; positions of no block are not seen. sequences: the sequence of each row, int32 [R]. Products of values and
    sums are float32. A row that sees nothing is NaN.
    """
    rows, heads, size = q.shape
    assert q.dtype in (jnp.float32, jnp.bfloat16), "a type of the kernel"
    assert q.dtype == keys.dtype == values.dtype, "all of one type"
    assert keys.shape == values.shape == (*keys.shape[:-1], size), "keys and values fit queries"
    assert heads % keys.shape[1] == 0, "key/value heads are shared by equal groups"
    assert tables.shape == starts.shape, "a first position for each block"
    assert {array.shape for array in (sequences, *seen)} == {(rows,)}, "one for each row"
    call = jax.ffi.ffi_call("palmetto_attend_blocks", jax.ShapeDtypeStruct(q.shape, q.dtype))
    result: jax.Array = call(q, keys, values, tables, starts, sequences, *seen)
    return result
