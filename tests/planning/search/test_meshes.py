"""Layouts that the search considers, and their estimates."""

import re

import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.planning.at_scale import with_mesh
from palmetto.planning.compile import Compiled, DoesNotFit
from palmetto.planning.describe import describe_search, division
from palmetto.planning.network.topology import Topology, parse
from palmetto.planning.program import hlo
from palmetto.planning.search import meshes as searching
from palmetto.planning.search.estimate import estimate
from palmetto.planning.search.meshes import _finalists, candidates, settings
from palmetto.recipe import Recipe, loading
from tests.conftest import RecipeMaker
from tests.references import excerpts


def test_candidates_use_every_chip() -> None:
    recipe, on = loading.load("palm-62b"), parse("v4:8x8x8")
    found = candidates(recipe, on)
    assert len(found) > 10
    for one in found:
        mesh = one.recipe.mesh
        assert (mesh.devices, mesh.pod) == (512, 1)
        assert recipe.model.heads % mesh.model == 0
    best = found[0]
    assert best.estimate.memory <= on.chip.usable
    fitting = [one.estimate.seconds for one in found if one.estimate.memory <= on.chip.usable]
    assert fitting == sorted(fitting)
    assert len({tuple(one.recipe.mesh.sizes.values()) for one in _finalists(found)}) == len(_finalists(found))


def test_experts_may_have_their_own_axis() -> None:
    found = candidates(loading.load("glam-1.7b-64e"), parse("v4:4x4x4"), meshes_alone=True)
    assert {one.recipe.mesh.expert for one in found} > {1, 2, 4}


def test_meshes_alone_change_only_the_mesh() -> None:
    recipe = loading.load("palm-8b")
    found = candidates(recipe, parse("v4:4x4x4"), meshes_alone=True)
    assert {one.recipe.training.rematerialize for one in found} == {recipe.training.rematerialize}


def test_sharding_saves_memory() -> None:
    on = parse("v4:4x4x4")

    def memory(*overrides: str) -> int:
        return estimate(loading.load("palm-8b", overrides), on, 256).memory

    spread = [memory("mesh.data=64", f"mesh.zero={level}") for level in (0, 1, 2, 3)]
    assert spread == sorted(spread, reverse=True)
    assert len(set(spread)) == 4
    assert memory("mesh.data=32", "mesh.model=2", "mesh.zero=0") < spread[0]
    again = [memory("mesh.data=64", f"training.rematerialize={what}") for what in ("nothing", "projections", "block")]
    assert again == sorted(again, reverse=True)


def test_every_level_of_the_gradients_tree_needs_memory() -> None:
    recipe, on = loading.load("palm-8b", ["mesh.data=64"]), parse("v4:4x4x4")
    one, two, four = (estimate(recipe, on, leaves * 64).memory for leaves in (1, 2, 4))
    assert two - one == four - two == pytest.approx(2 * 4 * 8_632_012_800 / 64, rel=0.01)


def test_traffic_between_pods_costs_time() -> None:
    one = estimate(loading.load("palm-8b", ["mesh.data=64"]), parse("v4:4x4x4"), 256)
    two = estimate(loading.load("palm-8b", ["mesh.pod=2", "mesh.data=64"]), parse("v4:4x4x4", slices=2), 256)
    assert one.across == 0
    assert two.across == pytest.approx(8_632_012_800 * 4 / 64 / 6.25e9, rel=0.01)
    assert two.compute == pytest.approx(one.compute / 2)


def test_no_valid_layout_is_refused(tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match="no mesh of 256 devices") as error:
        candidates(tiny_recipe(), parse("v6e:16x16"))
    assert "\n" not in str(error.value)


def test_a_mesh_of_another_size_is_refused(tiny_recipe: RecipeMaker) -> None:
    said: list[str] = []
    with pytest.raises(UserError, match=r"data 2 is 2 devices, and v4:2x2x1 has 4; mesh\.\w+=\d.* would do"):
        with_mesh(tiny_recipe("mesh.data=2"), parse("v4:2x2x1"), said.append)
    with pytest.raises(UserError, match=r"mesh.pod=1: pods are slices, and v4:2x2x1 × 2 has 2"):
        with_mesh(tiny_recipe("mesh.data=4", "mesh.model=2"), parse("v4:2x2x1", slices=2), said.append)
    assert not said
    chosen = with_mesh(tiny_recipe(), parse("v4:2x2x1"), said.append)
    assert chosen.mesh.devices == 4
    assert said == [f"the recipe has no mesh; the likeliest is {division(settings(chosen))}"]


@pytest.mark.parametrize("mesh", ["mesh.pod=2 mesh.data=2 mesh.model=2", "mesh.data=4", "mesh.data=2 mesh.sequence=4"])
@pytest.mark.parametrize("slices", [1, 2])
def test_the_suggested_mesh_is_valid(tiny_recipe: RecipeMaker, mesh: str, slices: int) -> None:
    """The suggested overrides, appended to the refused ones, give a mesh of the topology."""
    on, said = parse("v4:2x2x1", slices=slices), list[str]()
    recipe = tiny_recipe(*mesh.split())
    try:
        chosen = with_mesh(recipe, on, said.append)
    except UserError as error:
        (advice,) = re.findall(r"; (mesh\..*) would do$", str(error))
        chosen = with_mesh(tiny_recipe(*mesh.split(), *advice.split()), on, said.append)
    assert (chosen.mesh.devices, chosen.mesh.pod) == (on.chips, slices)
    assert not said


def test_an_unreadable_program_leaves_the_other_finalists(
    tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, said, calls = parse("h100:4"), list[str](), 0

    def compiled(recipe: Recipe, on: Topology, sequences: int) -> DoesNotFit | Compiled:
        nonlocal calls
        calls += 1
        text = excerpts.IN_A_FUSION if calls > 1 else excerpts.IN_A_FUSION.replace("{{0,1,2,3}}", "{all of them}")
        memory = {"arguments": 1, "temporaries": 1, "code": 0, "peak": 2}
        return Compiled(hlo.parse(text), 0.0, memory, tuple((0, 0, gpu) for gpu in range(4)))

    monkeypatch.setattr(searching, "compile_step", compiled)
    found = searching.layouts(tiny_recipe(), on, said.append)
    assert len(found) == calls - 1 > 0
    assert "the compiler's program cannot be read: groups of devices in an unknown form: {all of them}" in said


def test_a_search_without_a_result_stops(tiny_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(recipe: Recipe, on: Topology, sequences: int) -> DoesNotFit:
        return DoesNotFit(0.0, 1, 2**50, on.chip.usable)

    def fails(recipe: Recipe, on: Topology, sequences: int) -> DoesNotFit:
        raise RunStopped("the compiler failed: as it does")

    for stub, line in ((too_large, r"none of the \d likeliest layouts fits 15.8 GiB"), (fails, "could be compiled")):
        said: list[str] = []
        monkeypatch.setattr(searching, "compile_step", stub)
        with pytest.raises(RunStopped, match=line):
            searching.layouts(tiny_recipe(), parse("v5e:2x2"), said.append)
    assert "the compiler failed: as it does" in said


def test_the_search_is_described() -> None:
    one = {
        "mesh": {"data": 4},
        "zero": 3,
        "rematerialize": "block",
        "fits": True,
        "mfu": 0.4,
        "hfu": 0.5,
        "step_seconds": 2.0,
        "tokens_per_second": 1000.0,
        "roofline": {"mfu": 0.45, "hfu": 0.55},
        "memory": {"peak": 2**30, "capacity": 2**34},
        "time": {"matrix_units": 1.5, "waiting_for_ICI": 0.5},
        "notes": ["as it were"],
    }
    other = one | {"fits": False, "mfu": None, "memory": {"peak": 2**35, "capacity": 2**34}}
    topology = {"name": "v5e:2x2", "slices": 1, "chips": 4, "chip": "TPU v5e"}
    text = describe_search({"recipe": "tiny", "topology": topology, "layouts": [one, other]})
    assert text.splitlines() == [
        "tiny on v5e:2x2: 4 × TPU v5e",
        "1. data 4, zero 3, rematerialize block",
        "     2 s a step, 1,000 tokens/s, MFU 40.0%, HFU 50.0% (rooflines alone 45.0%, 55.0%)",
        "     1.00 GiB of 16.00 GiB a chip",
        "     time: matrix units 75%, waiting for ICI 25%",
        "2. data 4, zero 3, rematerialize block",
        "     does not fit: 32.00 GiB of 16.00 GiB a chip, too much",
        "note: as it were",
    ]
