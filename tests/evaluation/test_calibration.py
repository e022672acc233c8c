"""Tests calibration against numbers that are counted by hand."""

import math

import pytest

from palmetto.evaluation.calibration import bins, error, favourites
from palmetto.evaluation.tasks.task import Outcome


def outcome(place: int, probability: float, gold: int) -> Outcome:
    """Returns an example with two options, of which the first has a probability."""
    likelihoods = (math.log(probability) - 7, math.log(1 - probability) - 7)
    return Outcome(str(place), str(place), {}, "", gold=(gold,), options=2, likelihoods=likelihoods)


def test_bins_hold_confidence_and_accuracy() -> None:
    # Twice 0.92, once right; once 0.81 for the second option, which is right; a tie has no favourite.
    outcomes = [outcome(0, 0.92, 0), outcome(1, 0.92, 1), outcome(2, 0.19, 1), outcome(3, 0.5, 0)]
    low, high = bins(favourites(outcomes))
    assert [(each.count, each.accuracy) for each in (low, high)] == [(1, 1.0), (2, 0.5)]
    assert [low.confidence, high.confidence] == pytest.approx([0.81, 0.92])
    assert error([low, high]) == pytest.approx((0.19 + 2 * 0.42) / 3)


def test_a_model_that_knows_its_chances_has_no_error() -> None:
    outcomes = [outcome(place, 0.8, int(place % 5 == 0)) for place in range(50)]
    [only] = bins(favourites(outcomes))
    assert error([only]) == pytest.approx(0.0)
    assert only.interval[0] < 0.8 < only.interval[1]


def test_a_certain_favourite_is_in_the_last_bin() -> None:
    sure = outcome(0, 0.5, 0)._replace(likelihoods=(0.0, -2000.0))
    assert bins(favourites([sure]))[0].confidence == 1.0
