"""What a recipe amounts to, without an array."""

import json

import jax
import pytest

from palmetto import plan, recipes
from tests.conftest import RecipeMaker


def test_palm_540bs_plan_is_the_papers_to_the_digit_and_makes_no_array() -> None:
    before = len(jax.live_arrays())
    values = plan.plan(recipes.load("palm-540b"))
    assert len(jax.live_arrays()) == before
    assert values["parameters"]["total"] == values["parameters"]["active"] == 540_356_474_880
    assert sum(values["parameters"]["by_matrix"].values()) == 540_356_474_880
    assert values["flops_per_token"] == 6 * 540_356_474_880 + 12 * 118 * 48 * 256 * 2048
    sequences = 512 * 50_000 + 1024 * 65_000 + 2048 * 140_000
    assert (values["steps"], values["sequences"], values["tokens"]) == (255_000, sequences, sequences * 2048)
    assert values["tokens"] == pytest.approx(780e9, rel=0.01)
    assert values["flops"] == pytest.approx(values["flops_per_token"] * values["tokens"])
    assert [(b["from_step"], b["sequences"], b["tokens"]) for b in values["batch"]] == [
        (1, 512, 2**20),
        (50_001, 1024, 2**21),
        (115_001, 2048, 2**22),
    ]
    assert values["schedule"]["first"] == 1e-2
    assert values["schedule"]["last"] == pytest.approx(255_000**-0.5)


@pytest.mark.parametrize(("name", "total"), [("palm-8b", 8_632_012_800), ("palm-62b", 62_495_662_080)])
def test_the_smaller_models_of_the_paper_have_its_counts_and_its_tokens(name: str, total: int) -> None:
    values = plan.plan(recipes.load(name))
    assert values["parameters"]["total"] == total
    assert values["tokens"] == pytest.approx(780e9, rel=0.03)


def test_memory_is_four_bytes_a_parameter_a_gradient_and_a_moment(tiny_recipe: RecipeMaker) -> None:
    values = plan.plan(tiny_recipe())
    total = 300 * 32 + 2 * (32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 128) + 32
    assert values["parameters"]["total"] == total
    assert values["memory_bytes"] == {"parameters": 4 * total, "gradients": 4 * total, "optimizer": 8 * total}


def test_leaves_and_a_ramp_that_outlasts_the_run(tiny_recipe: RecipeMaker) -> None:
    values = plan.plan(tiny_recipe("training.batch_size={0: 8, 4: 16, 100: 32}"))
    assert values["sequences"] == 4 * 8 + 4 * 16
    assert [b["leaves"] for b in values["batch"]] == [4, 8, 16]


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_has_a_plan_for_programs_and_for_people(name: str) -> None:
    values = plan.plan(recipes.load(name))
    assert json.loads(json.dumps(values))["recipe"] == name
    text = plan.describe(values)
    for number in (values["parameters"]["total"], values["steps"], values["tokens"]):
        assert f"{number:,}" in text
