"""The best division of a budget."""

import numpy as np
import pytest

from palmetto.scaling.laws import Law
from palmetto.scaling.optimum import optimum
from tests.scaling.test_laws import CHINCHILLA


def test_no_other_division_of_the_budget_is_better() -> None:
    best = optimum(CHINCHILLA, 5.76e23)
    assert 6 * best.parameters * best.tokens == pytest.approx(5.76e23)
    parameters = best.parameters * np.exp(np.linspace(-3, 3, 601))
    losses = CHINCHILLA(np.stack([parameters, 5.76e23 / 6 / parameters], axis=1))
    assert losses.argmin() == 300
    assert best.loss == pytest.approx(losses[300])


def test_many_laws_are_divided_at_once() -> None:
    many = Law(*(np.stack([one, one * 1.1]) for one in CHINCHILLA))
    found = optimum(many, 1e20)
    for place in range(2):
        alone = optimum(Law(*(values[place] for values in many)), 1e20)
        assert [values[place] for values in found] == pytest.approx(list(alone))


def test_a_law_that_wants_no_parameters_gets_one() -> None:
    """Laws of a bootstrap from few runs may want none."""
    best = optimum(Law(np.array(1.0), np.array([1e-9, 1e9]), np.array([1e-3, 1.0])), 6e6)
    assert (best.parameters, best.tokens) == pytest.approx((1, 1e6))
    assert np.isfinite(best.loss)
