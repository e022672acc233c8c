"""Scores by the loss of the right answers."""

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.scaling import accuracy, intervals
from palmetto.scaling.accuracy import Curve
from tests.scaling.test_laws import CHINCHILLA, noisy, runs

TRUE = Curve(0.25, np.array(0.9), np.array(2.3), np.array(6.0))


def test_the_curve_runs_from_chance_to_its_top() -> None:
    assert TRUE(np.array([-50.0, 2.3, 50.0])) == pytest.approx([0.9, (0.25 + 0.9) / 2, 0.25])


def test_points_of_a_curve_give_it_again() -> None:
    losses = np.linspace(1.8, 3.2, 9)
    found = accuracy.fit(losses, TRUE(losses), chance=0.25)
    assert np.array([*found.curve]) == pytest.approx(np.array([*TRUE]), rel=1e-3)
    assert found.noise == pytest.approx(0, abs=1e-4)


def test_two_steps_predict_the_score_of_a_larger_model() -> None:
    """The loss by parameters and tokens, then the score by the loss, both with noise."""
    x = runs()
    losses = noisy(CHINCHILLA, x, 0.002, seed=5)
    scores = TRUE(losses) + 0.005 * np.random.default_rng(6).standard_normal(len(losses))
    curve, larger = accuracy.fit(losses, scores, chance=0.25), np.array([1e10, 2e11])
    score, within = curve.predict(intervals.fit(x, losses), larger)
    true = float(TRUE(CHINCHILLA(larger)))
    assert within is not None
    assert within[0] < true < within[1]
    assert score == pytest.approx(true, abs=0.05)


def test_too_few_losses_are_refused() -> None:
    with pytest.raises(UserError, match="2 different losses"):
        accuracy.fit(np.array([1.0, 2.0, 2.0]), np.array([0.3, 0.2, 0.2]), chance=0.1)
