"""Tests that what a step computes for a row has the same bits whatever the number of rows."""

from typing import get_args

import numpy as np
import pytest

from palmetto.decoding import step
from palmetto.decoding.cached import rows_are_their_own
from palmetto.decoding.caches.paged import NOWHERE, PagedCache
from palmetto.decoding.runner import choose_tuning
from palmetto.model.held import hold
from palmetto.native.library import kernels
from palmetto.recipe.model import Weights
from tests.conftest import slow_but
from tests.decoding.test_kinds import KINDS, LENGTH, VOCABULARY, made, model_of

pytestmark = pytest.mark.optimized

MOST = 64
RANDOM = np.random.default_rng(3)
TOKENS = RANDOM.integers(VOCABULARY, size=MOST).astype(np.int32)
POSITIONS = (np.arange(MOST) % LENGTH).astype(np.int32)
SEQUENCES = (np.arange(MOST) // LENGTH).astype(np.int32)


def scores(kind: str, row: np.ndarray, weights: Weights | None = None, unscored: int = 0) -> step.Scores:
    """Returns what the model says after all these rows of MOST, whose sequences are in the cache already.

    unscored: how many rows without a token, and as many whose logits are not wanted, stand before them.
    """
    model, arranged = made(kind)
    if weights is not None:
        arranged = hold(arranged, model, weights, choose_tuning(None))
    blocks = -(-MOST // LENGTH)
    shape = (blocks + 2, model.key_value_heads, 16, model.query_size)
    tables = np.arange(1, blocks + 2, dtype=np.int32)[:, None].repeat(8, axis=1)
    starts = np.full_like(tables, NOWHERE)
    starts[:, 0] = 0
    cache = PagedCache.empty(model.layers, shape, model.activations).with_tables(tables, starts)  # type: ignore[arg-type]
    tuning, prefix = choose_tuning(None), np.zeros(MOST, np.int32)
    learned = step.learn(arranged, model, LENGTH)
    everything = step.Rows(TOKENS, POSITIONS, SEQUENCES, prefix, np.ones(MOST, bool))  # type: ignore[arg-type]
    _, cache = step.forward(arranged, learned, everything, cache, model, tuning)
    cache = cache.with_tables(tables, starts)
    rows = step.Rows(*(np.concatenate([each[: 2 * unscored], each[row]]) for each in everything))  # type: ignore[arg-type]
    np.asarray(rows.sequences)[:unscored] = blocks
    np.asarray(rows.scored)[: 2 * unscored] = False
    found, _ = step.forward(arranged, learned, rows, cache, model, tuning)
    return step.Scores(*(each[2 * unscored :] for each in found))


def bits(found: step.Scores) -> list[bytes]:
    return [np.asarray(row).tobytes() + np.asarray(of).tobytes() for row, of in zip(*found, strict=True)]


QUICK = [("grouped queries", None), ("grouped queries", "int8")]
OWN = [(kind, None) for kind in KINDS if rows_are_their_own(model_of(kind), choose_tuning(None))]
HELD = [("grouped queries", weights) for weights in get_args(Weights)]
"""Every kind of attention and positions, and every type of weights, which has products of its own."""


@pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)
@pytest.mark.parametrize(("kind", "weights"), slow_but(QUICK, OWN + HELD))
def test_the_bits_of_a_row_do_not_depend_on_the_number_of_rows(kind: str, weights: Weights | None) -> None:
    expected = bits(scores(kind, np.arange(MOST), weights))
    assert len(set(expected)) > MOST // 2
    for count in (1, 5, 31):
        some = np.random.default_rng(count).permutation(MOST)[:count]
        assert bits(scores(kind, some, weights)) == [expected[row] for row in some], count
    assert bits(scores(kind, some, weights, unscored=3)) == [expected[row] for row in some]


@pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)
def test_packed_float32_weights_have_the_bits_of_plain_ones() -> None:
    plain, packed = (bits(scores("grouped queries", np.arange(MOST), weights)) for weights in (None, "float32"))
    assert plain == packed
