"""The learning rate by step against the papers' formulas."""

import math

import pytest

from palmetto.recipe import loading
from palmetto.training.learning_rate import learning_rate
from tests.conftest import RecipeMaker

COSINE = "training.schedule={name: cosine, peak: 3e-4, warmup: 10, decay_steps: 110, final: 0.1}"


def test_the_learning_rate_of_palm_matches_the_paper() -> None:
    training = loading.load("palm-540b").training
    for step in (1, 2, 5_000, 9_999, 10_000):
        assert learning_rate(training, step) == 1e-2
    for step in (10_001, 40_000, 255_000):
        assert learning_rate(training, step) == pytest.approx(1 / math.sqrt(step), rel=1e-14)


def test_inverse_square_root_is_continuous_at_the_hold(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.schedule={peak: 0.5, hold: 16}").training
    assert [learning_rate(training, step) for step in (1, 15, 16, 64, 256)] == [0.5, 0.5, 0.5, 0.25, 0.125]


def test_cosine_warms_up_decays_and_stays_at_its_share(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe(COSINE).training
    rates = {step: learning_rate(training, step) for step in range(1, 200)}
    for step in range(1, 11):
        assert rates[step] == pytest.approx(3e-4 * step / 10)
    for step in range(10, 111):
        half_turn = math.cos(math.pi * (step - 10) / 100)
        assert rates[step] == pytest.approx(3e-5 + (3e-4 - 3e-5) * (1 + half_turn) / 2)
    assert rates[60] == pytest.approx((3e-4 + 3e-5) / 2)
    for step in range(110, 200):
        assert rates[step] == pytest.approx(3e-5)


@pytest.mark.parametrize("warmup", [0, 1, 99, 100, 1000])
def test_cosine_ends_by_default_with_the_run(tiny_recipe: RecipeMaker, warmup: int) -> None:
    training = tiny_recipe(
        "training.steps=100", f"training.schedule={{name: cosine, peak: 1, warmup: {warmup}, final: 0}}"
    ).training
    rates = [learning_rate(training, step) for step in range(1, 2001)]
    highest = max(warmup, 1)
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[: highest - 1] == [pytest.approx(step / highest) for step in range(1, highest)]
    assert rates[warmup - 1 if warmup else 0] == pytest.approx(1, abs=3e-4)
    assert rates[max(100, warmup + 1) - 1 :] == [pytest.approx(0, abs=1e-12)] * (2001 - max(100, warmup + 1))
