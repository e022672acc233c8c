"""Tests the estimated cost of a run before it is begun."""

import jax
import pytest

from palmetto.planning import energy
from palmetto.planning.network import topology
from palmetto.recipe import loading
from tests.conftest import RecipeMaker


def test_palm_540b_is_planned_by_its_ramp() -> None:
    """Steps of each batch size by their own seconds, on all chips, with the recipe's watts."""
    recipe = loading.load("palm-540b")
    sizes = {512: 3.0, 1024: 5.0, 2048: 9.0}
    batches = [{"batch": {"sequences": size}, "step_seconds": seconds} for size, seconds in sizes.items()]
    used = energy.there(recipe, topology.parse("v4:12x16x16", 2), batches)
    assert used is not None
    hours = (50_000 * 3 + 65_000 * 5 + 140_000 * 9) / 3600
    assert (used["hours"], used["chips"]) == pytest.approx((hours, 6144))
    kwh = hours * 6144 * 378.5 * 1.08 / 1000
    assert (used["kwh"], used["kg_co2e"]) == pytest.approx((kwh, kwh * 0.079))
    assert energy.there(recipe, topology.parse("v4:12x16x16", 2), [batches[0], {"batch": {"sequences": 1024}}]) is None


def test_a_plan_here_knows_nothing_of_larger_machines() -> None:
    used = energy.here(loading.load("palm-540b"), 2.5e24)
    assert (used["kwh"], used["kg_co2e"], used["hours"], used["chips"]) == (None, None, None, 6144)
    assert "--topology" in used["how"]


def test_a_plan_here_follows_the_peak_or_a_measured_rate(tiny_recipe: RecipeMaker) -> None:
    recipe = tiny_recipe("training.peak_flops=1e11", "energy.watts=50")
    used = energy.here(recipe, 1.44e14)
    assert jax.default_backend() == "cpu"
    assert (used["hours"], used["chips"], used["kwh"]) == pytest.approx((1, 1, 0.05))
    assert "40% of 100 GFLOP/s here" in used["how"]
    measured = energy.here(recipe, 1.44e14, rate=2e10)
    assert (measured["hours"], measured["kwh"]) == pytest.approx((2, 0.1))
    assert measured["how"].startswith("estimated from energy.watts=50 and 20 GFLOP/s")
