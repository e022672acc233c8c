"""Tests that what a step computes for a row has the same bits whatever the number of rows."""

import numpy as np
import pytest

from palmetto.decoding import step
from palmetto.decoding.cached import rows_are_their_own
from palmetto.decoding.caches.paged import NOWHERE, PagedCache
from palmetto.decoding.runner import choose_tuning
from palmetto.native.library import kernels
from tests.conftest import slow_but
from tests.decoding.test_kinds import KINDS, LENGTH, VOCABULARY, made

MOST = 64
RANDOM = np.random.default_rng(3)
TOKENS = RANDOM.integers(VOCABULARY, size=MOST).astype(np.int32)
POSITIONS = (np.arange(MOST) % LENGTH).astype(np.int32)
SEQUENCES = (np.arange(MOST) // LENGTH).astype(np.int32)


def scores(kind: str, row: np.ndarray) -> step.Scores:
    """Returns what the model says after all these rows of MOST, whose sequences are in the cache already."""
    model, arranged = made(kind)
    blocks = -(-MOST // LENGTH)
    shape = (blocks + 1, model.key_value_heads, 16, model.query_size)
    tables = np.arange(1, blocks + 1, dtype=np.int32)[:, None].repeat(8, axis=1)
    starts = np.full_like(tables, NOWHERE)
    starts[:, 0] = 0
    cache = PagedCache.empty(model.layers, shape, model.activations).with_tables(tables, starts)  # type: ignore[arg-type]
    tuning, prefix = choose_tuning(None), np.zeros(MOST, np.int32)
    learned = step.learn(arranged, model, LENGTH)
    everything = step.Rows(TOKENS, POSITIONS, SEQUENCES, prefix)  # type: ignore[arg-type]
    _, cache = step.forward(arranged, learned, everything, cache, model, tuning)
    cache = cache.with_tables(tables, starts)
    found, _ = step.forward(arranged, learned, step.Rows(*(each[row] for each in everything)), cache, model, tuning)
    return found


def bits(found: step.Scores) -> list[bytes]:
    return [np.asarray(row).tobytes() + np.asarray(of).tobytes() for row, of in zip(*found, strict=True)]


OWN = [kind for kind in KINDS if rows_are_their_own(made(kind)[0], choose_tuning(None))]


@pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)
@pytest.mark.parametrize("kind", slow_but(["grouped queries"], OWN))
def test_the_bits_of_a_row_do_not_depend_on_the_number_of_rows(kind: str) -> None:
    expected = bits(scores(kind, np.arange(MOST)))
    assert len(set(expected)) > MOST // 2
    for count in (1, 2, 5, 8, 31):
        some = np.random.default_rng(count).permutation(MOST)[:count]
        assert bits(scores(kind, some)) == [expected[row] for row in some], count
