"""PaLM's accounting of floating-point operations."""

import pytest

from palmetto import recipes
from palmetto.training.flops import flops_per_token, measured_peak, peak_flops
from tests.conftest import RecipeMaker


def test_a_token_costs_six_a_parameter_and_attention_twelve_l_h_q_t() -> None:
    expected = 6 * 540_356_474_880 + 12 * 118 * 48 * 256 * 2048
    assert flops_per_token(recipes.load("palm-540b")) == expected


def test_palm_540bs_utilization_is_the_papers() -> None:
    recipe = recipes.load("palm-540b")
    tokens_per_second, peak = 238.3e3, 6144 * 275e12
    assert round(100 * tokens_per_second * flops_per_token(recipe) / peak, 1) == 46.2
    no_attention = flops_per_token(recipe) - 12 * 118 * 48 * 256 * 2048
    assert round(100 * tokens_per_second * no_attention / peak, 1) == 45.7


def test_a_stated_peak_is_the_one_that_counts(tiny_recipe: RecipeMaker) -> None:
    assert peak_flops(tiny_recipe("training.peak_flops=1.5e12")) == 1.5e12


def test_a_measured_peak_is_one_a_machine_can_have() -> None:
    assert 1e8 < measured_peak(size=64, repeats=3) < 1e16


def test_an_unstated_peak_is_that_of_the_machine(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    class Chip:
        device_kind = "TPU v4"

    monkeypatch.setattr("jax.devices", lambda: [Chip()] * 4)
    assert peak_flops(tiny_recipe("mesh.model=2")) == 2 * 275e12, "of the devices that the run has, not of all"
