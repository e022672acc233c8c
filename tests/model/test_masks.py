"""Compares visible keys with explicit sets of positions, and visible blocks with the positions in them."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.model import masks
from palmetto.model.attentions.full import FullAttention
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.attentions.parallel_windows import ParallelWindows
from palmetto.model.attentions.sinks import SinkAttention
from palmetto.model.attentions.strided import StridedAttention
from palmetto.recipe.parts import Attention

small = st.integers(1, 12)
attentions: st.SearchStrategy[Attention] = st.one_of(
    st.just(FullAttention()),
    st.builds(LocalAttention, window=small),
    st.builds(MemoryAttention, window=small, layer=st.just(0)),
    st.builds(StridedAttention, stride=st.integers(2, 12)),
    st.builds(SinkAttention, sinks=small, window=small),
    st.builds(ParallelWindows, window=small, count=st.integers(1, 4)),
)


def seen(attention: Attention, length: int) -> list[set[int]]:
    """Returns the set of keys that each query sees."""
    positions = np.arange(length)
    table = masks.visible(attention, positions[:, None], positions)
    assert table.dtype == bool
    return [set(np.flatnonzero(row).tolist()) for row in table]


@pytest.mark.parametrize(
    ("attention", "query", "keys"),
    [
        (FullAttention(), 4, {0, 1, 2, 3, 4}),
        (LocalAttention(window=3), 4, {2, 3, 4}),
        (LocalAttention(window=3), 1, {0, 1}),
        (LocalAttention(window=1), 4, {4}),
        (MemoryAttention(window=2, layer=0), 4, {3, 4}),
        (StridedAttention(stride=3), 10, {1, 4, 7, 8, 9, 10}),
        (SinkAttention(sinks=2, window=3), 8, {0, 1, 6, 7, 8}),
        (SinkAttention(sinks=4, window=1), 2, {0, 1, 2}),
        (ParallelWindows(window=3, count=2), 2, {0, 1, 2}),
        (ParallelWindows(window=3, count=2), 4, {3, 4}),
        (ParallelWindows(window=3, count=2), 6, {0, 1, 2, 3, 4, 5, 6}),
        (ParallelWindows(window=3, count=2), 9, set(range(10))),
    ],
)
def test_each_attention_shows_the_expected_keys(attention: Attention, query: int, keys: set[int]) -> None:
    assert seen(attention, 12)[query] == keys


@given(attentions)
def test_a_position_sees_itself_and_no_later_one(attention: Attention) -> None:
    assert all(max(keys) == query for query, keys in enumerate(seen(attention, 40)))


@given(attentions)
def test_numpy_and_jax_agree(attention: Attention) -> None:
    positions = np.arange(30, dtype=np.int32)
    table = masks.visible(attention, jnp.asarray(positions)[:, None], jnp.asarray(positions))
    np.testing.assert_array_equal(table, masks.visible(attention, positions[:, None], positions))


def test_prefixes_differ_between_sequences() -> None:
    positions, prefix = np.arange(6), np.array([0, 3])
    queries, keys = positions[None, :, None], positions[None, None, :]
    table = masks.with_prefix(
        masks.visible(LocalAttention(window=1), queries, keys), queries, keys, prefix[:, None, None]
    )
    np.testing.assert_array_equal(table[0], np.eye(6, dtype=bool))
    for query, key in itertools.product(range(6), range(6)):
        assert table[1, query, key] == (query == key or (query < 3 and key < 3))


@given(st.none() | attentions, st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_block_pairs_are_those_with_a_visible_key(
    attention: Attention | None, length: int, query_rows: int, key_rows: int
) -> None:
    positions = np.arange(length)
    everything = np.ones((length, length), bool)
    table = masks.visible(attention, positions[:, None], positions) if attention else everything
    expected = [
        [q // query_rows, k // key_rows]
        for q in range(0, length, query_rows)
        for k in range(0, length, key_rows)
        if table[q : q + query_rows, k : k + key_rows].any()
    ]
    pairs = masks.block_pairs(attention, length, query_rows, key_rows)
    assert pairs.dtype == np.int32
    assert pairs.tolist() == expected


def test_block_pairs_need_no_mask_over_positions() -> None:
    """A mask over positions would take a terabyte."""
    pairs = masks.block_pairs(LocalAttention(window=4096), 1 << 20, 1024, 1024)
    assert len(pairs) == 1024 * 5 - (4 + 3 + 2 + 1)
