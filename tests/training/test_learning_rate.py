"""The learning rate by step against the papers' formulas."""

import math

import numpy as np
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


@pytest.mark.parametrize(
    "schedule",
    ["name: inverse_sqrt, peak: 1e-2, hold: 30", "name: cosine, peak: 1e-3, warmup: 10", "name: constant, warmup: 10"],
)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", ["linear", "1-sqrt"])
def test_a_cooldown_multiplies_the_last_rates(
    tiny_recipe: RecipeMaker, schedule: str, share: float, final: float, shape: str
) -> None:
    cooldown = f"{{share: {share}, shape: {shape}, final: {final}}}"
    with_it, without = (
        tiny_recipe("training.steps=100", f"training.schedule={{{schedule}{more}}}").training
        for more in (f", cooldown: {cooldown}", "")
    )
    p = np.clip((np.arange(1, 151) - (100 - 100 * share)) / (100 * share), 0, 1)
    factor = final + (1 - final) * (1 - p if shape == "linear" else 1 - np.sqrt(p))
    plain = np.array([learning_rate(without, step) for step in range(1, 151)])
    rates = np.array([learning_rate(with_it, step) for step in range(1, 151)])
    np.testing.assert_allclose(rates, plain * factor, rtol=1e-12, atol=1e-17)
    before = round(100 - 100 * share)
    assert list(rates[:before]) == list(plain[:before])


def test_a_constant_rate_follows_its_warm_up(tiny_recipe: RecipeMaker) -> None:
    training = tiny_recipe("training.schedule={name: constant, peak: 0.5, warmup: 4}").training
    assert [learning_rate(training, step) for step in (1, 2, 4, 5, 900)] == [0.125, 0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(("steps", "share", "before"), [(8, 0.01, 7), (1, 0.5, 0), (8, 1.0, 0), (500, 0.2, 400)])
def test_a_cooldown_has_a_whole_number_of_steps(
    tiny_recipe: RecipeMaker, steps: int, share: float, before: int
) -> None:
    training = tiny_recipe(f"training.steps={steps}", f"training.schedule.cooldown.share={share}").training
    assert training.steps_before_cooldown == before
    assert learning_rate(training, steps) == 0
