"""Plans of decoding and prefill for TPUs, compiled by the TPU compiler, which exists for Linux on x86-64."""

import importlib.util
import json
from typing import Any, get_args

import pytest

from palmetto.model import weights as parameters
from palmetto.planning.inference.at_scale import plan
from palmetto.planning.inference.describe import describe
from palmetto.planning.inference.layouts import LAYOUTS
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network.topology import parse
from palmetto.recipe import Recipe, loading
from palmetto.recipe.model import Weights
from tests.planning.test_command_line import palmetto

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="the TPU compiler, libtpu, is not installed: the extra `plan`",
    ),
]

SMALL = (
    "model.layers=4",
    "model.d_model=1024",
    "model.heads=12",
    "model.head_size=128",
    "tokens.vocabulary_size=2048",
    "tokens.sequence_length=512",
    "mesh={}",
)
"""A small PaLM whose heads 8 chips do not divide, like PaLM 540B's on 64."""


def planned(phase: Phase, weights: Weights | None = None, layout: str | None = None) -> tuple[Recipe, dict[str, Any]]:
    recipe = loading.load("palm-540b", SMALL)
    return recipe, plan(recipe, parse("v4:2x2x2"), phase, weights, layout, lambda _: None)


def matrices(recipe: Recipe) -> int:
    """The parameters of kernels and embedding."""
    model = recipe.model
    return parameters.count(model, recipe.model_vocabulary) - (model.layers + 1) * model.d_model


def test_a_step_of_decoding_is_planned() -> None:
    recipe, values = planned(Phase("decode", 64, 512))
    assert values["fits"]
    assert values["layout"]["name"] == "ws2d-batch"
    memory = values["memory"]
    assert memory["arguments"] == pytest.approx(memory["weights"] + memory["cache"], rel=0.01)
    assert memory["temporaries"] < memory["weights"] / 4, "neither weights nor cache are copied"
    # Keys and values are projected on four chips alike; attention sees all 512 positions.
    model, shared = recipe.model, 2 * 4 * 1024 * 128
    products = 64 * 2 * (matrices(recipe) + 3 * shared)
    attention = 64 * 4 * model.layers * model.heads * model.query_size * 512
    assert values["flops"]["program"] == pytest.approx((products + attention) / 8, rel=0.01)
    assert values["roofline"]["milliseconds_per_token"] < values["milliseconds_per_token"]
    assert values["milliseconds_per_token"] == pytest.approx(1000 * values["step_seconds"])
    assert sum(values["time"].values()) == pytest.approx(values["step_seconds"])
    assert values["uncounted"] == values["loops_of_unknown_length"] == []


def test_int8_weights_are_read_as_such() -> None:
    read = {kind: planned(Phase("decode", 64, 512), kind)[1]["memory_traffic"] for kind in get_args(Weights)}
    _, values = planned(Phase("decode", 64, 512), "int8")
    saved = read["bfloat16"] - read["int8"]
    assert saved == pytest.approx(values["memory"]["weights"], rel=0.1)
    assert read["float32"] - read["bfloat16"] == pytest.approx(2 * saved, rel=0.1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_its_collectives(layout: str) -> None:
    """With few tokens activations are small beside the weights that gathered layouts exchange."""
    recipe, values = planned(Phase("decode", 8, 512), None, layout)
    assert values["fits"]
    assert values["milliseconds_per_token"] > values["roofline"]["milliseconds_per_token"]
    of = {row["kind"]: row for row in values["collectives"]}
    entry = LAYOUTS[layout]
    kernels = 2 * (matrices(recipe) - recipe.model_vocabulary * recipe.model.d_model)
    gathered, left = 2 ** len(entry.gathered), 2 ** len(set("yz") - set(entry.gathered))
    expected = kernels / left * (1 - 1 / gathered)
    assert of.get("all-gather", {"bytes": 0})["bytes"] == pytest.approx(expected, rel=0.1, abs=kernels / 100)
    # By batch, queries and outputs are exchanged in every layer, unless each chip has whole sequences in any case.
    in_layers = entry.attention == "batch" and entry.gathered != "xyz"
    exchanges = of.get("all-to-all", {"count": 0})["count"]
    assert exchanges >= 2 * recipe.model.layers if in_layers else exchanges < recipe.model.layers


def test_the_command_plans_a_prefill() -> None:
    arguments = ("palm-540b", "--prefill", "1:512", "--topology", "v4:2x2x2", "--weights", "int8", *SMALL, "--json")
    done = palmetto("plan", *arguments)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["layout"]["name"] == "ws2d-heads"
    assert 0 < values["mfu"] < 1
    assert values["seconds"] > values["roofline"]["seconds"]
    assert values["longest_context"] > 512
    assert "splash" in " ".join(values["notes"])
    assert "12 query and 1 key/value heads are divided by 4 of the 8 chips" in values["notes"][0]
    assert "int8 weights" in describe(values)
