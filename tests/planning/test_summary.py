"""Summaries of recipes match the papers, and make no array."""

import json
from pathlib import Path

import jax
import pytest

from palmetto.model import weights as parameters
from palmetto.planning import summary as plan
from palmetto.recipe import loading
from tests.conftest import RecipeMaker


def test_the_plan_of_palm_540b_matches_the_paper() -> None:
    before = len(jax.live_arrays())
    values = plan.plan(loading.load("palm-540b"))
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
def test_the_plans_of_smaller_palms_match_the_paper(name: str, total: int) -> None:
    values = plan.plan(loading.load(name))
    assert values["parameters"]["total"] == total
    assert values["tokens"] == pytest.approx(780e9, rel=0.03)


def test_the_bubble_of_a_pipeline_follows_the_formula() -> None:
    values = plan.plan(loading.load("palm-8b", ["mesh.stage=4", "mesh.data=64"]))
    filled = [(each["from_step"], each["micro_batches"], each["bubble"]) for each in values["pipeline"]["filled"]]
    assert filled == [(1, 4, pytest.approx(3 / 7)), (100_001, 8, pytest.approx(3 / 11))]
    assert "idle for 42.9% of the time with 4 micro-batches" in plan.describe(values)
    assert plan.plan(loading.load("palm-8b"))["pipeline"] is None


EXACT = {
    "llama2-7b": (6_738_415_616, 6_738_415_616),
    "llama3-8b": (8_030_261_248, 8_030_261_248),
    "mixtral-8x7b": (46_702_792_704, 12_879_925_248),
    "bloom-176b": (176_247_271_424, 176_247_271_424),
}
"""Parameters of released checkpoints, total and active."""


@pytest.mark.parametrize("name", EXACT)
def test_released_models_have_exactly_their_parameters(name: str) -> None:
    counts = plan.plan(loading.load(name))["parameters"]
    assert (counts["total"], counts["active"]) == EXACT[name]


@pytest.mark.parametrize(
    ("name", "published", "tolerance"),
    [
        ("gpt3-175b", 175.0e9, 0.0025),
        # Without the D × D kernel of Transformer-XL in each layer, these would be 258 and 65 billion.
        ("gopher-280b", 280e9, 0.0015),
        ("chinchilla-70b", 70e9, 0.001),
        # 128.7 billion. With an untied output kernel, which the released model does not have, it would be 130.5.
        ("glm-130b", 130e9, 0.0101),
    ],
)
def test_other_models_have_their_rounded_counts(name: str, published: float, tolerance: float) -> None:
    assert plan.plan(loading.load(name))["parameters"]["total"] == pytest.approx(published, rel=tolerance)


def test_the_largest_glam_has_its_parameter_counts() -> None:
    counts = plan.plan(loading.load("glam-64b-64e"))["parameters"]
    assert round(counts["total"] / 1e12, 3) == 1.162
    assert round(counts["active"] / 1e9, 1) == 96.6
    assert counts["active"] == 96_604_528_640


# Counts of GLaM, table 4, in billions, and the relative errors of our shapes with an embedding of 32,000 rows. The
# paper's 256,000 rows fit the largest model; in every other row they would add 224,000 · D parameters.
GLAM = {
    "glam-0.1b": (0.130, 0.130, 0.061, 0.061),
    "glam-0.1b-64e": (1.9, 0.145, 0.005, 0.051),
    "glam-1.7b": (1.7, 1.7, 0.015, 0.015),
    "glam-1.7b-32e": (20, 1.878, 0.303, 0.0005),
    "glam-1.7b-64e": (27, 1.879, 0.006, 0.0005),
    "glam-1.7b-128e": (53, 1.881, 0.008, 0.0005),
    "glam-1.7b-256e": (105, 1.886, 0.009, 0.002),
    "glam-8b": (8.7, 8.7, 0.003, 0.003),
    "glam-8b-64e": (143, 9.8, 0.0005, 0.0005),
    "glam-137b": (137, 137, 0.006, 0.006),
}


@pytest.mark.parametrize("name", GLAM)
def test_other_glams_match_with_a_smaller_vocabulary(name: str) -> None:
    recipe = loading.load(name)
    total, used, total_tolerance, used_tolerance = GLAM[name]
    assert parameters.count(recipe.model, 32_000) / 1e9 == pytest.approx(total, rel=total_tolerance)
    assert parameters.active(recipe.model, 32_000) / 1e9 == pytest.approx(used, rel=used_tolerance)
    counts = plan.plan(recipe)["parameters"]
    assert counts["total"] - parameters.count(recipe.model, 32_000) == 224_000 * recipe.model.d_model
    assert counts["active"] - parameters.active(recipe.model, 32_000) == 224_000 * recipe.model.d_model


def test_memory_is_four_bytes_a_number(tiny_recipe: RecipeMaker) -> None:
    values = plan.plan(tiny_recipe())
    total = 300 * 32 + 2 * (32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 128) + 32
    assert values["parameters"]["total"] == total
    count = 4  # of updates
    assert values["memory_bytes"] == {"parameters": 4 * total, "gradients": 4 * total, "optimizer": 8 * total + count}


def test_the_optimizers_memory_depends_on_its_settings(tiny_recipe: RecipeMaker) -> None:
    def optimizer(settings: str) -> int:
        memory: int = plan.plan(tiny_recipe(f"training.optimizer={settings}"))["memory_bytes"]["optimizer"]
        return (memory - 4) // 4

    total = plan.plan(tiny_recipe())["parameters"]["total"]
    assert optimizer("{name: adamw}") == 2 * total
    assert optimizer("{momentum: 0}") == total
    scales = 32 + 2 * 32
    sides = (300 + 32) + 2 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 128))
    assert optimizer("{momentum: 0, factored: true}") == scales + sides
    assert optimizer("{factored: true}") == total + scales + sides


def test_longer_examples_cost_flops_but_no_tokens(tiny_recipe: RecipeMaker) -> None:
    causal, spans = (plan.plan(tiny_recipe(f"training.objective.name={name}")) for name in ("causal", "spans"))
    # 3 of 17 tokens form one span, which adds two sentinels.
    assert spans["example"] == {"tokens": 16, "positions": 19, "extra_tokens": 1}
    assert causal["example"] == {"tokens": 16, "positions": 16, "extra_tokens": 0}
    assert spans["parameters"]["total"] == causal["parameters"]["total"] + 32
    assert spans["tokens"] == causal["tokens"] == 8 * 8 * 16
    assert causal["flops"] == causal["flops_per_token"] * 64 * 16
    assert spans["flops"] == spans["flops_per_token"] * 64 * 19
    text = plan.describe(spans)
    assert "  objective     spans, 19 positions for 16 tokens, 1 token beyond the vocabulary\n" in text
    assert " a position, " in text
    assert "objective" not in plan.describe(causal)
    assert "  objective     prefix\n" in plan.describe(plan.plan(tiny_recipe("training.objective.name=prefix")))


@pytest.mark.parametrize(
    ("experts", "line"),
    [
        ("{count: 8, capacity_factor: 1.25}", "8 every 2nd layer, top 2, capacity 1.25"),
        ("{count: 4, every: 1, top: 1}", "4 in every layer, top 1, dropless"),
        ("{count: 4, every: 3}", "4 every 3rd layer, top 2, dropless"),
        ("{count: 4, every: 12}", "4 every 12th layer, top 2, dropless"),
    ],
)
def test_experts_are_described(tiny_recipe: RecipeMaker, experts: str, line: str) -> None:
    values = plan.plan(tiny_recipe("model.layers=12", f"model.experts={experts}"))
    assert f"\n  experts       {line}\n" in plan.describe(values)
    assert values["parameters"]["active"] < values["parameters"]["total"]


def test_a_model_without_experts_has_no_line_for_them(tiny_recipe: RecipeMaker) -> None:
    assert "experts" not in plan.describe(plan.plan(tiny_recipe()))


def test_lines_are_short_and_break_between_parts() -> None:
    text = plan.describe(plan.plan(loading.load("gpt3-175b")))
    assert max(map(len, text.splitlines())) <= 120
    assert "feedforward_norm_bias 1,179,648" in text
    assert "from step 2,501,\n                48 sequences" in text


def test_the_documented_table_of_recipes_is_right() -> None:
    documented = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name in loading.names():
        counts = plan.plan(loading.load(name))["parameters"]
        active = f"{counts['active']:,}" if counts["active"] != counts["total"] else "all"
        assert f"| {name} | {counts['total']:,} | {active} | " in documented, name


def test_a_ramp_may_outlast_the_run(tiny_recipe: RecipeMaker) -> None:
    values = plan.plan(tiny_recipe("training.batch_size={0: 8, 4: 16, 100: 32}"))
    assert values["sequences"] == 4 * 8 + 4 * 16
    assert [b["leaves"] for b in values["batch"]] == [4, 8, 16]


@pytest.mark.parametrize("name", loading.names())
def test_every_shipped_recipe_has_a_plan(name: str) -> None:
    values = plan.plan(loading.load(name))
    assert json.loads(json.dumps(values))["recipe"] == name
    text = plan.describe(values)
    for number in (values["parameters"]["total"], values["steps"], values["tokens"]):
        assert f"{number:,}" in text
