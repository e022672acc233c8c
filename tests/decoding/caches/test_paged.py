"""Tests where the paged cache writes, and what it reads."""

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.decoding.caches import paged
from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.paged import NOWHERE, PagedCache

TABLES = jnp.array([[3, 1], [2, 0], [0, 0]])
STARTS = jnp.array([[0, 2], [2, NOWHERE], [0, NOWHERE]])


def empty() -> PagedCache:
    return PagedCache.empty(1, (4, 1, 2, 1), "float32").with_tables(TABLES, STARTS)


def write(cache: PagedCache, positions: list[int], sequences: list[int], values: list[float]) -> PagedCache:
    new = jnp.array(values)[:, None, None, None]
    return cache.write(0, new, -new, Places(jnp.array(positions)[:, None], jnp.array(sequences)))


def test_tokens_are_written_to_the_blocks_of_their_sequences() -> None:
    cache = write(empty(), [0, 3, 2, 0], [0, 0, 1, 2], [10, 13, 22, 99])
    assert cache.keys[0][:, 0, :, 0].tolist() == [[99, 0], [0, 13], [22, 0], [10, 0]]
    assert cache.values[0][:, 0, :, 0].tolist() == [[-99, 0], [0, -13], [-22, 0], [-10, 0]]


def test_rows_read_their_sequence_with_positions() -> None:
    cache = write(empty(), [0, 3, 2], [0, 0, 1], [10, 13, 22])
    seen = cache.read(0, Places(jnp.array([[3], [2]]), jnp.array([0, 1])))
    assert seen.keys[:, 0, :, 0].tolist() == [[10, 0, 0, 13], [22, 0, 0, 0]]
    assert seen.positions.tolist() == [[0, 1, 2, 3], [2, 3, NOWHERE, NOWHERE + 1]]


def test_parts_are_what_is_read_in_pieces() -> None:
    tables = jnp.arange(40).reshape(1, 40) % 3 + 1
    starts = jnp.where(jnp.arange(40) < 20, 8 * jnp.arange(40), NOWHERE)[None]
    size, places = 8, Places(jnp.zeros((1, 1), jnp.int32), jnp.zeros(1, jnp.int32))
    cache = PagedCache.empty(1, (4, 2, size, 3), "float32").with_tables(tables, starts)
    cache = cache._replace(keys=(jax.random.normal(jax.random.key(0), (4, 2, size, 3)),))
    assert paged.part_entries(size) == 16
    assert int(cache.parts(places)) == 2
    whole = cache.read(0, places)
    for part in range(2):
        read, columns = cache.read_part(0, places, jnp.array(part)), slice(128 * part, 128 * part + 128)
        assert np.array_equal(read.keys, whole.keys[:, :, columns])
        assert np.array_equal(read.positions, whole.positions[:, columns])


def test_copied_blocks_are_read_before_any_is_written() -> None:
    cache = write(empty(), [0, 2, 2], [0, 0, 1], [3, 1, 2])
    copied = cache.copied(jnp.array([3, 1, 0]), jnp.array([1, 2, 0]))
    assert copied.keys[0][:, 0, 0, 0].tolist() == [0, 3, 1, 3]
    assert copied.values[0][:, 0, 0, 0].tolist() == [0, -3, -1, -3]


def test_a_donated_cache_is_updated_in_place() -> None:
    cache = PagedCache.empty(1, (64, 1, 16, 8), "float32").with_tables(TABLES, STARTS)
    run = jax.jit(lambda cache: write(cache, [0], [0], [1]), donate_argnums=0)
    analysis = run.lower(cache).compile().memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= 2 * 64 * 16 * 8 * 4
    assert analysis.temp_size_in_bytes < 64 * 16 * 8
