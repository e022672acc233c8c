"""Tests what a plan of decoding or prefill refuses, and what it finds without the compiler."""

import json
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.planning import describe as descriptions
from palmetto.planning.inference.at_scale import plan
from palmetto.planning.inference.describe import describe
from palmetto.planning.inference.phases import Phase
from palmetto.planning.network.chips import CHIPS
from palmetto.planning.network.topology import parse
from palmetto.recipe import loading
from palmetto.recipe.model import Weights
from tests.planning.test_command_line import palmetto

DECODE = Phase("decode", 64, 2048)


def planned(*overrides: str, topology: str = "v4:4x4x4", slices: int = 1, weights: Weights | None = None) -> Any:
    recipe = loading.load("palm-540b", ("mesh.pod=1", "mesh.data=1", "mesh.model=1", *overrides))
    return plan(recipe, parse(topology, slices), DECODE, weights, None, lambda _: None)


@pytest.mark.parametrize(
    ("overrides", "where", "line"),
    [
        ((), {"topology": "h100:64"}, "--topology h100:64: .*v4:4x4x4 would do"),
        ((), {"slices": 2}, "--slices 2: .*leave it out"),
        (("training.objective={name: spans}",), {}, "training.objective.name=spans: .*causal would do"),
        (("model.activations=float16",), {}, "model.activations=float16: .*bfloat16 would do"),
        (("model.experts={count: 4}",), {}, "model.experts: .*null would do"),
        (("model.positions.name=alibi",), {}, "model.positions.name=alibi: .*rotary would do"),
        (
            ("model.positions={name: learned, length: 2047}", "tokens.sequence_length=512"),
            {},
            "model.positions.length=2047: .*2048 would do",
        ),
        (("model.attention={name: memory, window: 4, layer: 2}",), {}, "model.attention.name=memory: .*full would do"),
    ],
)
def test_what_cannot_be_planned_is_refused(overrides: tuple[str, ...], where: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line):
        planned(*overrides, **where)


def test_weights_that_do_not_fit_are_not_compiled() -> None:
    values = planned(topology="v4:2x2x4")
    memory = values["memory"]
    assert values["fits"] is False
    assert memory["peak"] == memory["weights"] + memory["cache"] > memory["capacity"] == CHIPS["v4"].usable
    missing = (memory["peak"] - memory["capacity"]) / 2**30
    assert descriptions.misfit(values).endswith(f"; {missing:.2f} GiB are missing")
    assert "ws2d-batch: weight-stationary 2D, attention by batch, x 2 × y 2 × z 4" in describe(values)


def test_the_command_says_what_is_missing() -> None:
    done = palmetto("plan", "palm-540b", "--decode", "64:2048", "--topology", "v4:2x2x4", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["weights"] == "bfloat16"
    assert "does not fit: " in done.stderr
    assert done.stderr.rstrip().endswith("are missing")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--decode", "64:2048", "--prefill", "1:2"), "--decode 64:2048 --prefill 1:2: a plan is of one phase"),
        (("--decode", "64"), "--decode 64: expected BATCH:CONTEXT"),
        (("--decode", "64:2048", "--layout", "ws3d", "--topology", "v4:4x4x4"), "--layout ws3d: no such layout"),
        pytest.param(("--decode", "64:2048"), "--decode: needs --topology", marks=pytest.mark.slow),
        pytest.param(("--layout", "ws2d-batch"), "--layout: needs --decode or --prefill", marks=pytest.mark.slow),
        pytest.param(("--weights", "int8"), "--weights: needs --decode or --prefill", marks=pytest.mark.slow),
        pytest.param(
            ("--decode", "64:2048", "--search", "--topology", "v4:4x4x4"),
            "--search: looks for meshes of training",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_refusals_are_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = palmetto("plan", "palm-540b", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"palmetto: {line}")
    assert done.stderr.count("\n") == 1
