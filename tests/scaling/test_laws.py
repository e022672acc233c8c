"""Laws of the loss are found in points that follow them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.scaling import intervals, laws
from palmetto.scaling.intervals import Fit, interval
from palmetto.scaling.laws import Law
from palmetto.scaling.minimizing import Floats

CHINCHILLA = Law(np.array(1.8172), np.array([482.01, 2085.43]), np.array([0.3478, 0.3658]))
"""The law of arXiv 2404.10102."""


def runs(sizes: int = 5, ratios: tuple[float, ...] = (5, 20, 80)) -> Floats:
    """Parameters and tokens of a ladder, shape [sizes · ratios, 2]."""
    return np.array([(n, n * ratio) for n in np.geomspace(1e7, 1e9, sizes) for ratio in ratios])


def noisy(law: Law, x: Floats, noise: float, seed: int) -> Floats:
    losses: Floats = law(x) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(x)))
    return losses


@settings(max_examples=8)
@given(st.floats(0.5, 3), st.floats(0.15, 1), st.floats(0.15, 1), st.floats(0.1, 2), st.floats(0.1, 2))
def test_points_of_a_law_give_its_constants(E: float, alpha: float, beta: float, first: float, second: float) -> None:
    x = runs()
    centre = np.exp(np.log(x).mean(0))
    exponents = np.array([alpha, beta])
    law = Law(np.array(E), np.array([first, second]) * centre**exponents, exponents)
    found = laws.fit(x, law(x))
    assert found.constant == pytest.approx(E, rel=1e-3)
    assert found.exponents == pytest.approx(exponents, rel=1e-3)
    assert found.coefficients == pytest.approx(law.coefficients, rel=2e-2)


def test_one_variable_gives_the_law_of_compute() -> None:
    flops = np.geomspace(1e15, 1e19, 6)[:, None]
    found = laws.fit(flops, 1.7 + 60 * flops[:, 0] ** -0.09)
    assert (found.constant, *found.coefficients, *found.exponents) == pytest.approx((1.7, 60, 0.09), rel=1e-4)


def test_no_other_constants_fit_noisy_points_better() -> None:
    """The objective by its definition in Chinchilla, at the fit and at many points around it."""
    x = runs(4)
    losses = noisy(CHINCHILLA, x, 0.01, seed=3)

    def objective(law: Law) -> float:
        off = np.abs(np.log(law(x)) - np.log(losses))
        return float(np.where(off <= 1e-3, off**2 / 2, 1e-3 * (off - 5e-4)).sum())

    found, generator = laws.fit(x, losses), np.random.default_rng(0)
    least = objective(found)
    assert least < objective(CHINCHILLA)
    centre = np.log(x).mean(0)
    for scale in 10.0 ** generator.uniform(-5, 0, 2000):
        moves = scale * generator.standard_normal(5)
        exponents = found.exponents * np.exp(moves[3:])
        turned = found.coefficients * np.exp((exponents - found.exponents) * centre + moves[1:3])
        assert objective(Law(found.constant * np.exp(moves[0]), turned, exponents)) > least * (1 - 1e-6)


def holds(fit: Fit, law: Law) -> list[bool]:
    """Returns whether each constant of a law lies within its interval."""
    assert fit.laws is not None
    drawn = (fit.laws.constant, *fit.laws.coefficients.T, *fit.laws.exponents.T)
    true = (law.constant, *law.coefficients, *law.exponents)
    bounds = [interval(values) for values in drawn]
    return [low <= value <= high for value, (low, high) in zip(true, bounds, strict=True)]


def test_noisy_points_give_constants_within_their_intervals() -> None:
    fit = intervals.fit(x := runs(), noisy(CHINCHILLA, x, 0.005, seed=1))
    assert all(holds(fit, CHINCHILLA))
    assert fit.noise == pytest.approx(0.005, rel=0.6)
    loss, within = fit.predict(np.array([7e10, 1.4e12]))
    assert within is not None
    assert within[0] < CHINCHILLA(np.array([7e10, 1.4e12])) < within[1]
    assert within[0] < loss < within[1]
    assert within[1] / within[0] < 1.1, "an interval that says something"


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    x, times = runs(4), 60
    fits = [intervals.fit(x, noisy(CHINCHILLA, x, 0.004, seed=seed)) for seed in range(times)]
    held = np.mean([holds(fit, CHINCHILLA) for fit in fits], axis=0)
    assert (held > 0.85).all(), held
    at = np.array([1e10, 2e11])
    reached = noisy(CHINCHILLA, np.tile(at, (times, 1)), 0.004, seed=99)
    bounds = np.array([fit.predict(at)[1] for fit in fits])
    assert np.mean((bounds[:, 0] <= reached) & (reached <= bounds[:, 1])) > 0.85


@pytest.mark.parametrize("count", [3, 4])
def test_hardly_more_runs_than_constants_give_no_interval(count: int) -> None:
    flops = np.geomspace(1e15, 1e17, count)[:, None]
    fit = intervals.fit(flops, np.linspace(4, 3.2, count))
    assert fit.noise is None
    loss, within = fit.predict(np.array([1e18]))
    assert within is None
    assert 0 < loss < 3.2


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (runs(1), "3 runs, and the law has 5 constants"),
        (runs(2), "at least 3 different values"),
        (runs(6, (20.0,)), "rise together"),
    ],
)
def test_runs_that_determine_no_law_are_refused(x: Floats, why: str) -> None:
    with pytest.raises(UserError, match=why):
        laws.check(x, "loss")
    laws.check(runs(3, (10, 20)), "loss")
