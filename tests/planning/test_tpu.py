"""Plans for TPUs, compiled by the TPU compiler, which exists for Linux on x86-64."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

from palmetto.model import weights as parameters
from palmetto.planning.at_scale import plan, search
from palmetto.planning.compile import compile_step
from palmetto.planning.describe import describe, describe_search
from palmetto.planning.network.chips import CHIPS, GPU
from palmetto.planning.network.topology import parse
from palmetto.planning.predict import predict
from tests.conftest import RecipeMaker
from tests.planning.test_command_line import TINY, palmetto

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler, libtpu, is not installed: the extra `plan`"
)


def test_two_slices_are_planned(tiny_recipe: RecipeMaker) -> None:
    lines: list[str] = []
    values = plan(tiny_recipe("mesh.pod=2", "mesh.data=2", "mesh.model=2"), parse("v4:2x2x1", slices=2), lines.append)
    assert values["fits"]
    assert set(values["memory"]) >= {"arguments", "temporaries", "peak", "capacity"}
    assert {row["network"] for row in values["collectives"]} == {"ICI", "DCN"}
    assert all(row["waited_seconds"] <= row["seconds"] * (1 + 1e-9) for row in values["collectives"])
    assert sum(values["time"].values()) == pytest.approx(values["step_seconds"])
    assert 1 <= values["pods"]["speedup"] <= 2
    assert values["uncounted"] == values["loops_of_unknown_length"] == []
    assert describe(values).startswith("tiny on v4:2x2x1 × 2: 8 × TPU v4")


def test_the_axis_model_alone_is_planned(tiny_recipe: RecipeMaker) -> None:
    """In this case the compiler names groups by the axes of a mesh."""
    recipe, on = tiny_recipe("model.heads=4", "mesh.model=4"), parse("v6e:2x2")
    values = predict(recipe, on, 8, compile_step(recipe, on, 8))
    assert values["fits"]
    assert sum(row["bytes"] for row in values["collectives"]) > 0
    # Everything is divided by four except keys and values, which every chip computes.
    assert values["flops"]["ratio"] == pytest.approx(1, rel=0.01)


def test_the_attention_kernel_is_used_and_counted(tiny_recipe: RecipeMaker) -> None:
    """The kernel computes 9 products of a head's square where the formula counts 6."""
    changed = ("model.head_size=128", "tokens.sequence_length=256", "mesh.data=2", "mesh.model=2")
    recipe, on = tiny_recipe(*changed), parse("v5e:2x2")
    values = predict(recipe, on, 8, compile_step(recipe, on, 8))
    matrices = parameters.count(recipe.model, 300) - 3 * 32
    attention = 12 * 2 * 2 * 128 * 256 * 9 // 6
    assert values["flops"]["program"] == (6 * matrices + attention) * 8 * 256 / 4
    assert "splash" in values["notes"][0]
    assert values["uncounted"] == []


def test_the_search_finds_layouts_that_fit(tiny_recipe: RecipeMaker) -> None:
    said: list[str] = []
    values = search(tiny_recipe("training.reproducible=fixed"), parse("v5p:2x2x1"), said.append)
    seconds = [one["step_seconds"] for one in values["layouts"]]
    assert len(seconds) > 1
    assert seconds == sorted(seconds)
    assert len(said) == len(seconds), "none of them was given up"
    assert describe_search(values).startswith("tiny on v5p:2x2x1: 4 × TPU v5p\n1. ")


def test_a_plan_that_does_not_fit_is_one_line() -> None:
    large = ("model.d_model=8192", "model.heads=64", "model.layers=64", *TINY[:2], "training.batch_size=8")
    done = palmetto("plan", "palm-1m", "--topology", "v5e:2x2", *large, "mesh.data=4", "--json")
    assert done.returncode == 1
    values = json.loads(done.stdout)
    memory, total = values["memory"], parameters_of(large)
    assert values["fits"] is False
    assert memory["arguments"] == pytest.approx(3 * 4 * total / 4, rel=1e-3), "parameters and two moments, a quarter"
    assert memory["arguments"] + memory["temporaries"] == memory["peak"] > memory["capacity"] == CHIPS["v5e"].usable
    assert "does not fit: " in done.stderr.splitlines()[-1]


def parameters_of(overrides: tuple[str, ...]) -> int:
    total: int = json.loads(palmetto("plan", "palm-1m", *overrides, "--json").stdout)["parameters"]["total"]
    return total


TOO_LARGE = """
import jax, numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
for kind, slice_, options in (("v4", "2x2x1", {"chip_config_name": "megacore"}), ("v5e", "2x2", {}),
                              ("v5p", "2x2x1", {"chip_config_name": "megacore"}), ("v6e", "2x2", {})):
    devices = topologies.get_topology_desc(platform="tpu", topology_name=f"{kind}:{slice_}", **options).devices
    place = NamedSharding(Mesh(np.array(devices[:1]), "x"), PartitionSpec())
    array = jax.ShapeDtypeStruct((300_000, 300_000), "float32", sharding=place)
    try:
        jax.jit(lambda x: (x @ jax.numpy.sin(x.T)) @ jax.numpy.cos(x)).lower(array).compile()
    except jax.errors.JaxRuntimeError as error:
        print(kind, error)
"""


def test_chips_have_the_memory_that_the_compiler_reports() -> None:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    command = [sys.executable, "-c", TOO_LARGE]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    named = dict(re.findall(r"^(\w+) .*available HBM \(([\d.]+)G\)", said, re.MULTILINE))
    tpus = {kind: chip for kind, chip in CHIPS.items() if not isinstance(chip, GPU)}
    assert {kind: float(size) for kind, size in named.items()} == {
        kind: round(chip.usable / 2**30, 2) for kind, chip in tpus.items()
    }
