"""Compiling the step in a child process for GPUs, with virtual devices; for TPUs see test_tpu.py."""

import importlib.util

import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.model import weights as parameters
from palmetto.planning import compile as compiling
from palmetto.planning.compile import Compiled, compile_step
from palmetto.planning.network.topology import parse
from palmetto.planning.notes import notes
from palmetto.planning.predict import predict
from palmetto.planning.program import hlo
from palmetto.recipe import Recipe
from palmetto.training.flops import flops_per_token
from tests.conftest import RecipeMaker
from tests.references import excerpts


def test_gpus_are_planned_on_virtual_devices(tiny_recipe: RecipeMaker) -> None:
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


def temporaries(recipe: Recipe) -> int:
    compiled = compile_step(recipe, parse("h100:1"), 8)
    assert isinstance(compiled, Compiled)
    assert compiled.memory["peak"] == sum(compiled.memory[name] for name in ("arguments", "temporaries", "code"))
    return compiled.memory["temporaries"]


def test_temporaries_of_gpus_shrink_with_rematerialization(tiny_recipe: RecipeMaker) -> None:
    def of(again: str) -> int:
        sizes = ("model.layers=8", "tokens.sequence_length=256", f"training.rematerialize={again}")
        return temporaries(tiny_recipe(*sizes))

    kept, blocks = of("nothing"), of("block")
    assert kept > blocks > 4 * parameters.count(tiny_recipe("model.layers=8").model, 300)
    # Each layer keeps the outputs of the heads and the feed-forward for a micro-batch, in float32.
    assert kept - blocks > 8 * 2 * 256 * (3 * 32 + 3 * 128) * 4


def test_flops_equal_the_formula_exactly(tiny_recipe: RecipeMaker) -> None:
    """The formula is PaLM's without the norms. Sequences of one block are computed as full squares."""
    recipe, on = tiny_recipe("mesh.data=2", "tokens.sequence_length=128"), parse("h100:2")
    values = predict(recipe, on, 8, compile_step(recipe, on, 8))
    norms = (2 + 1) * 32  # one a layer, and the last
    matrices = parameters.count(recipe.model, 300) - norms
    attention = 12 * 2 * 2 * 16 * 128  # L·H·Q·T
    assert values["flops"]["program"] == (6 * matrices + attention) * 8 * 128 / on.chips
    assert values["uncounted"] == []


def test_a_missing_tpu_compiler_is_refused(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the TPU compiler, libtpu: .*(make|install)"):
        compile_step(tiny_recipe(), parse("v4:2x2x1"), 8)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (47.35G) "
            "exceeds available HBM (15.75G).",
            (47.35 * 2**30, 15.75 * 2**30),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 512.0M of 16.00M hbm.", (2**29, 2**24)),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem while allocating on stack for %a. Scoped "
            "allocation with size 17.19M and limit 16.00M exceeded scoped vmem limit by 1.19M.",
            None,
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem. Used 512.0M of 16.00M vmem.", None),
        ("INVALID_ARGUMENT: (1.00G) of nothing", None),
    ],
)
def test_memory_figures_are_read_from_the_compilers_error(message: str, found: tuple[float, float] | None) -> None:
    assert compiling._out_of_memory(message) == (None if found is None else pytest.approx(found))


def test_a_failing_compiler_is_reported_in_one_line(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(RunStopped) as error:
        compile_step(tiny_recipe("mesh.data=4"), parse("h100:2"), 8)
    assert str(error.value) == "the compiler failed: AssertionError: fewer devices than the mesh has"


def test_the_reason_of_an_exception_is_its_first_line() -> None:
    note = "\n--------------------\nFor simplicity, JAX has removed its internal frames from the traceback."
    assert compiling._reason(ValueError(f"\nno such shape{note}")) == "ValueError: no such shape"
    assert compiling._reason(MemoryError()) == "MemoryError"


def test_notes_describe_the_plan_of_a_gpu(tiny_recipe: RecipeMaker) -> None:
    on, program = parse("h100:1"), hlo.parse(excerpts.WINDOWED)
    dropless = "model.experts={count: 4, top: 1, every: 1}"
    assert [note[:30] for note in notes(tiny_recipe(), on, program)] == ["the program is XLA's for CPUs,"]
    assert "ragged" in notes(tiny_recipe(dropless), on, program)[1]
    assert len(notes(tiny_recipe(f"{dropless[:-1]}, capacity_factor: 2}}"), on, program)) == 1
    assert notes(tiny_recipe(), parse("v4:2x2x1"), program) == []
    assert "splash" in notes(tiny_recipe(), parse("v4:2x2x1"), hlo.parse(excerpts.SPLASH))[0]
