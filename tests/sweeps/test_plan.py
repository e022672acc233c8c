"""Plans of sweeps, and sweeps that are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.files import write_text
from palmetto.sweeps.plan import file_name, plan
from tests.sweeps.conftest import planned


def test_points_are_all_combinations_seed_by_seed(tiny: Path) -> None:
    made = planned(
        tiny, "model.layers=1,2", "training.steps=7", "opt=a:{},b:{training.clip: null, training.z_loss: 0.0}"
    )
    assert made.axes == ("model.layers", "opt")
    assert made.fixed == (f'corpus.source="{tiny}/text.txt"', "training.steps=7")
    found = [(p.seed, p.recipe.training.seed, p.recipe.model.layers, p.recipe.training.clip) for p in made.points]
    assert found == [(seed, seed, layers, clip) for seed in (0, 1) for layers in (1, 2) for clip in (1.0, None)]
    assert {p.recipe.training.steps for p in made.points} == {7}
    assert str(made.points[1].run.path) == f"{tiny}/out/model.layers=1,opt=b/seed-0"
    assert len({p.run.path for p in made.points}) == 8


def test_a_sweep_without_axes_has_seeds_only(tiny: Path) -> None:
    assert [str(p.run.path.relative_to(tiny)) for p in planned(tiny).points] == [f"out/tiny/seed-{n}" for n in (0, 1)]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["model.d_modle=16,32"], ["model.d_modle:", "'model.d_model'"]),
        (["block=parallel,serial"], ["block:", "no such key"]),
        (["model.heads=1,2,3"], ["model.heads=3", "d_model"]),
        (["model.layers=1,2", "model.layers=3,4"], ["model.layers", "twice"]),
        (["training.schedule.peak=1e-2,0.01"], ["peak=0.01", "same run as", "peak=1e-2"]),
    ],
)
def test_an_invalid_point_is_refused_before_anything_is_made(tiny: Path, axes: list[str], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        planned(tiny, *axes)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)
    assert not (tiny / "out").exists()


@pytest.mark.parametrize(
    ("axes", "seeds", "count"),
    [(["training.epochs", "training.keep_last", "training.digest_every"], 3, "5,184,000"), ([], 4000000, "4,000,000")],
)
def test_a_sweep_of_millions_is_refused_at_once(tiny: Path, axes: list[str], seeds: int, count: str) -> None:
    values = ",".join(map(str, range(1, 121)))
    with pytest.raises(UserError, match=f"has {count} runs: expected at most 10,000"):
        planned(tiny, *(f"{axis}={values}" for axis in axes), seeds=seeds)


def test_a_recipe_without_text_is_refused(tiny: Path) -> None:
    with pytest.raises(UserError, match="--source"):
        plan(str(tiny / "tiny.yaml"), ["model.layers=1,2"], 1, None, None)


def test_a_directory_of_another_sweep_is_refused(tiny: Path) -> None:
    point = planned(tiny, "model.layers=1,2").points[0]
    point.run.claim(point.recipe)
    write_text(point.run.ledger, "{}\n")
    with pytest.raises(UserError, match=r"training\.clip.*--out"):
        planned(tiny, "model.layers=1,2", "training.clip=2.0")


@given(st.text(), st.text())
def test_a_folder_name_is_unique_to_a_text(one: str, other: str) -> None:
    name = file_name(one)
    assert "/" not in name
    assert len(name) <= 140
    assert (name == file_name(other)) == (one == other)


def test_a_sweep_cannot_be_its_own_source(tiny: Path) -> None:
    (tiny / "out").mkdir()
    with pytest.raises(UserError, match=r"--out .*/out: the source itself; expected another directory"):
        plan(str(tiny / "tiny.yaml"), [], 1, str(tiny / "out"), tiny / "books" / ".." / "out")
