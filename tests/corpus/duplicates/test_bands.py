"""Tests that signatures and bands find as many pairs as the formula says."""

import numpy as np
import pytest

from palmetto.corpus.duplicates import bands
from palmetto.corpus.duplicates.bands import Shape, best_shape


@pytest.mark.parametrize("threshold", [0.42, 0.7, 0.8, 0.9])
def test_the_shape_finds_what_is_above_the_threshold(threshold: float) -> None:
    shape = best_shape(threshold, 128)
    assert shape.bands * shape.rows <= 128

    def found(similarity: float) -> float:
        return float(1 - (1 - similarity**shape.rows) ** shape.bands)

    assert found(threshold) > 0.95
    assert found((1 + threshold) / 2) > 0.999
    assert found(threshold / 2) < 0.35


def test_more_permutations_tell_better() -> None:
    def error(permutations: int) -> float:
        shape = best_shape(0.8, permutations)
        return (1 - (1 - 0.6**shape.rows) ** shape.bands) + (1 - 0.8**shape.rows) ** shape.bands

    assert error(512) < error(128) < error(16)


def test_bands_agree_as_often_as_similarity_says() -> None:
    random, shape, texts = np.random.default_rng(0), Shape(16, 8), 2000
    hashes = random.integers(0, 1 << 63, (texts, 110), dtype=np.uint64)
    ends = np.cumsum(np.full(texts, 100))
    one, two = (bands.bands(part.ravel(), ends, shape, 0) for part in (hashes[:, :100], hashes[:, 10:]))
    similarity = 90 / 110
    expected = 1 - (1 - similarity**8) ** 16
    assert (one == two).any(axis=1).mean() == pytest.approx(expected, abs=0.02)
    # Bands of different places and of different kinds do not match.
    others = bands.bands(hashes[:, :100].ravel(), ends, shape, 1)
    assert len(np.unique(np.concatenate([one, others]))) == 2 * texts * 16
