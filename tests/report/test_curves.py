"""Tests that curves are thinned, smoothed and labelled."""

import numpy as np
import pytest

from palmetto.report.curves import compact, crest, smooth, spread, thin


def test_thinning_keeps_every_columns_extremes_in_order() -> None:
    rng = np.random.default_rng(0)
    x, y = np.arange(1.0, 100_001), rng.standard_normal(100_000)
    y[54_321], y[77_777] = 50.0, -40.0
    steps, kept = thin(x, y, 100.0)
    assert len(steps) <= 2 * 1001
    assert {50.0, -40.0} <= set(kept)
    assert (np.diff(steps) > 0).all()
    for column in range(1001):
        inside, left = y[np.floor(x / 100) == column], kept[np.floor(steps / 100) == column]
        assert (left.min(), left.max()) == (inside.min(), inside.max())


def test_thinning_a_short_curve_removes_only_values_not_finite() -> None:
    x, y = np.arange(5.0), np.array([1.0, np.nan, 3.0, np.inf, 2.0])
    steps, kept = thin(x, y, 0.1)
    assert list(steps) == [0, 2, 4]
    assert list(kept) == [1, 3, 2]


@pytest.mark.parametrize("y", [[], [np.nan], [np.nan, np.inf]])
def test_thinning_nothing_leaves_nothing(y: list[float]) -> None:
    steps, kept = thin(np.arange(float(len(y))), np.array(y, float), 1.0)
    assert len(steps) == len(kept) == 0


def test_smoothing_is_a_mean_that_starts_at_the_first_value() -> None:
    y = np.array([9.0, 5.0, 1.0, np.nan, 3.0, 2.0])
    assert list(smooth(y, 3)) == [9.0, 5.0, 3.0, 2.0, 2.5, 2.5]
    assert np.isnan(smooth(np.full(4, np.nan), 3)).all()
    assert len(smooth(np.zeros(0), 5)) == 0


def test_the_crest_leaves_single_spikes_aside() -> None:
    y = np.full(1000, 2.0)
    y[[100, 500, 501]] = 1e6
    assert crest(y) == 2.0
    assert crest(np.array([8.0])) == 8.0
    assert crest(np.array([np.nan])) == 1.0
    assert crest(np.linspace(10, 1, 1000)) == pytest.approx(10, rel=0.01)


def test_labels_are_moved_apart_in_their_order() -> None:
    moved = spread([10.0, 12.0, 11.0, 90.0], 15.0)
    ordered = sorted(moved)
    assert min(np.diff(ordered)) >= 15 - 1e-6
    assert [moved.index(place) for place in ordered] == [0, 2, 1, 3]
    assert moved[3] == 90.0
    assert spread([], 15.0) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (0.01, "0.01"), (2e-5, "2e-5"), (1.2345e-4, "1.234e-4"), (7.25, "7.25"), (4096, "4,096")),
        *((250_000, "250k"), (1_475_200, "1.475M"), (7.8e11, "780B"), (-30_000, "-30k")),
    ],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert compact(value) == text
