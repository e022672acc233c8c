"""Tests intervals and comparisons against formulas, and against the error that resampling shows."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from palmetto.evaluation.statistics import (
    Estimate,
    Z,
    compare,
    estimate,
    influences,
    mean_of,
    mean_of_compared,
    mean_of_same,
    ratio,
    standard_error,
)


def test_single_clusters_give_the_central_limit_theorems_error() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 0.5]
    expected = np.std(values, ddof=1) / math.sqrt(6)
    assert standard_error(values, [str(n) for n in range(6)]) == pytest.approx(expected)


def test_copies_of_an_example_are_no_more_evidence() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    once = standard_error(values, list("abcde"))
    assert standard_error(values * 4, list("abcde") * 4) == pytest.approx(once)


def test_the_clustered_error_is_that_of_drawing_passages() -> None:
    random = np.random.default_rng(0)
    base = random.normal(size=(4000, 30, 1)) + random.normal(size=(4000, 30, 5))
    means = base.reshape(4000, -1).mean(axis=1)
    clusters = [str(n // 5) for n in range(150)]
    estimated = np.mean([standard_error(row.ravel().tolist(), clusters) for row in base[:200]])
    assert estimated == pytest.approx(float(np.std(means)), rel=0.05)


def test_nothing_right_is_not_certainty() -> None:
    low, high = estimate([0.0] * 20, [str(n) for n in range(20)]).interval
    assert low == 0.0
    assert high == pytest.approx(Z**2 / (20 + Z**2))
    assert estimate([1.0] * 20, [str(n) for n in range(20)]).interval == pytest.approx((1 - high, 1.0))


def test_one_cluster_says_nothing() -> None:
    assert estimate([1.0, 0.0], ["a", "a"]).interval == (0.0, 1.0)
    assert estimate([-3.0], ["a"], (-math.inf, 0.0)).interval == (-6.0, 0.0)
    assert compare([-1.0], [-4.0], ["a"]).difference.interval == (-6.0, 0.0)


def test_a_scaled_estimate_keeps_its_place_in_its_interval() -> None:
    for given, chance, best, expected in (
        (Estimate(0.62, 0.019, (0.5, 0.81)), 0.62, 1.0, (0.0, 0.05, -0.12 / 0.38, 0.5)),
        (Estimate(-4.0, 1.0, (-6.0, -2.0)), -10.0, 0.0, (0.6, 0.1, 0.4, 0.8)),
    ):
        value, error, interval = given.centred(chance, best)
        assert (value, error, *interval) == pytest.approx(expected)


def test_metrics_of_the_same_examples_do_not_average_errors_away() -> None:
    values = [0.0, 1.0, 1.0, 0.0]
    one = estimate(values, list("abcd"))
    same = mean_of_same([one, one])
    assert (same.value, same.error, same.interval) == (one.value, one.error, one.interval)


def test_pairs_show_what_separate_intervals_hide() -> None:
    ours = [float(n % 2) for n in range(100)]
    theirs = [1.0 if n < 10 else value for n, value in enumerate(ours)]
    clusters = [str(n) for n in range(100)]
    found = compare(ours, theirs, clusters)
    assert found.difference.value == pytest.approx(0.05)
    assert found.difference.interval[0] > 0
    assert estimate(theirs, clusters).interval[0] < np.mean(ours)


def test_the_needed_number_gives_the_power() -> None:
    """At the needed number, the difference is Z + the 80th percentile of standard errors."""
    random = np.random.default_rng(1)
    ours, theirs = random.random(500), random.random(500) + 0.05
    found = compare(ours.tolist(), theirs.tolist(), [str(n) for n in range(500)])
    assert found.needed is not None
    error_there = found.difference.error * math.sqrt(500 / found.needed)
    assert found.difference.value / error_there == pytest.approx(Z + 0.8416, rel=0.01)


def test_equal_runs_need_no_number() -> None:
    assert compare([0.0, 1.0], [0.0, 1.0], ["a", "b"]).needed is None


def test_a_mean_of_tasks_weighs_them_alike() -> None:
    one, other = estimate([1.0, 0.0] * 50, list(map(str, range(100)))), estimate([1.0, 0.0, 0.0, 0.0], list("abcd"))
    mean = mean_of([one, other])
    assert mean.value == pytest.approx((0.5 + 0.25) / 2)
    assert mean.error == pytest.approx(math.hypot(one.error, other.error) / 2)


def test_a_mean_of_differences_reaches_below_zero_too() -> None:
    single = compare([-1.0], [-4.0], ["a"])
    assert mean_of_compared([single, single]).difference.interval == (-6.0, 0.0)


def test_the_error_of_a_ratio_is_that_of_drawing_texts() -> None:
    random = np.random.default_rng(2)
    sizes = random.integers(10, 1000, size=(3000, 60)).astype(float)
    bits = sizes * random.normal(2.0, 0.3, size=sizes.shape)
    ratios = bits.sum(axis=1) / sizes.sum(axis=1)
    clusters = [str(n) for n in range(60)]
    found = [ratio(bits[row].tolist(), sizes[row].tolist(), clusters) for row in range(200)]
    assert found[0].value == pytest.approx(float(ratios[0]))
    assert np.mean([each.error for each in found]) == pytest.approx(float(np.std(ratios)), rel=0.05)


def test_influences_of_a_mean_are_its_values() -> None:
    values = [0.0, 1.0, 0.25, 0.5]
    found = influences([(value, 1.0) for value in values], lambda counts: counts[0] / counts[1] if counts[1] else 0.0)
    assert found == pytest.approx(values)


def test_influences_have_the_score_as_mean_and_its_error_as_spread() -> None:
    random = np.random.default_rng(0)
    counts = np.stack([random.poisson(3, 200), random.poisson(5, 200) + 1], axis=1).astype(float)

    def score(counts: Sequence[float]) -> float:
        return float((counts[0] / counts[1]) ** 0.5)

    found = influences(counts.tolist(), score)
    assert np.mean(found) == pytest.approx(score(counts.sum(axis=0).tolist()))
    drawn = [score(counts[random.integers(0, 200, 200)].sum(axis=0).tolist()) for _ in range(2000)]
    assert standard_error(found, list(map(str, range(200)))) == pytest.approx(float(np.std(drawn)), rel=0.1)
