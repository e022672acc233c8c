"""The step compiled in a process of its own: for GPUs from virtual devices, for TPUs where libtpu is installed."""

import importlib.util

import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.planning import compile as compiling
from palmetto.planning.at_scale import plan
from palmetto.planning.compile import Compiled, compile_step
from palmetto.planning.describe import describe
from palmetto.planning.predict import predict
from palmetto.planning.topology import parse
from palmetto.training.flops import flops_per_token
from tests.conftest import RecipeMaker

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the TPU compiler, libtpu, is not installed: the extra `plan`"
)


def test_gpus_from_virtual_devices(tiny_recipe: RecipeMaker) -> None:
    recipe, on = tiny_recipe("mesh.pod=2", "mesh.data=2", "mesh.model=2"), parse("h100:4", slices=2)
    compiled = compile_step(recipe, on, 8)
    assert isinstance(compiled, Compiled)
    assert compiled.devices == tuple((pod, 0, gpu) for pod in range(2) for gpu in range(4))
    values = predict(recipe, on, 8, compiled)
    assert values["fits"]
    assert values["memory"]["arguments"] > 0
    assert values["flops"]["formula"] == pytest.approx(flops_per_token(recipe) * 8 * 16 / 8)
    assert 0.5 < values["flops"]["ratio"] < 2
    assert {row["network"]: row["reach"] for row in values["collectives"]} == {
        "NVLink": "within a pod",
        "DCN": "across pods",
    }
    assert values["mfu"] == pytest.approx(values["flops"]["formula"] / values["step_seconds"] / 989e12)
    assert values["hfu"] == pytest.approx(values["flops"]["program"] / values["step_seconds"] / 989e12)
    assert sum(values["time"].values()) == pytest.approx(values["step_seconds"])
    assert values["loops_of_unknown_length"] == []


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_the_tpu_compiler(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match=r"libtpu: pip install 'palmetto\[plan\]'"):
        compile_step(tiny_recipe(), parse("v4:2x2x1"), 8)


@needs_libtpu
def test_a_tpu(tiny_recipe: RecipeMaker) -> None:
    lines: list[str] = []
    values = plan(tiny_recipe("mesh.pod=2", "mesh.data=2", "mesh.model=2"), parse("v4:2x2x1", slices=2), lines.append)
    assert values["fits"]
    assert set(values["memory"]) >= {"arguments", "temporaries", "peak", "capacity"}
    assert {row["network"] for row in values["collectives"]} == {"ICI", "DCN"}
    assert 1 <= values["pods"]["speedup"] <= 2
    assert describe(values).startswith("tiny on v4:2x2x1 × 2: 8 × TPU v4")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (47.35G) exceeds "
         "available HBM (15.75G).", (47.35 * 2**30, 15.75 * 2**30)),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 512.0M of 16.00M hbm.", (2**29, 2**24)),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem while allocating on stack for %a. Scoped "
         "allocation with size 17.19M and limit 16.00M exceeded scoped vmem limit by 1.19M.", None),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 512.0M of 16.00M vmem.", None),
        ("INVALID_ARGUMENT: (1.00G) of nothing", None),
    ],
)  # fmt: skip
def test_what_the_compiler_says_when_memory_runs_out(message: str, found: tuple[float, float] | None) -> None:
    assert compiling._out_of_memory(message) == (None if found is None else pytest.approx(found))


def test_a_compiler_that_fails_says_so_in_a_line(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(RunStopped, match="the compiler failed: ") as error:
        compile_step(tiny_recipe("mesh.data=4"), parse("h100:2"), 8)
    assert "\n" not in str(error.value)
