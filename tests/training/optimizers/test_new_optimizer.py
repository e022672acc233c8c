"""An optimizer that Palmetto does not have is added in one file, tests/references/lion.py."""

import os
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.host import environment
from palmetto.planning import summary
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.training import loop
from palmetto.training.verify import verify
from palmetto.workflow.tokens import build_tokens
from tests.conftest import RecipeMaker, need_devices
from tests.references import lion
from tests.references.simulated import Told

SECTIONS = ("corpus.section_bytes=8192", "tokens.vocabulary_size=512")
CHOICE = ("training.optimizer.name=lion", "training.schedule.peak=1e-3")


@pytest.fixture
def lion_recipe(tiny_recipe: RecipeMaker) -> RecipeMaker:
    return lambda *overrides: tiny_recipe(*CHOICE, *overrides)


@pytest.fixture
def run(lion_recipe: RecipeMaker, tmp_path: Path) -> RunDirectory:
    text = tmp_path / "text.txt"
    text.write_text((Path(os.__file__).parent / "ast.py").read_text())
    run = RunDirectory(tmp_path / "run")
    build_tokens(run, lion_recipe(*SECTIONS, f"corpus.source={text}"), print)
    return run


def train(run: RunDirectory, recipe: Recipe, until: int) -> Told:
    progress = Told()
    with run.locked():
        assert loop.train(run, recipe, until, environment.record(recipe.mesh_record), progress)
    return progress


def test_a_recipe_knows_its_settings(lion_recipe: RecipeMaker) -> None:
    recipe = lion_recipe("training.optimizer.beta2=0.95")
    assert recipe.training.optimizer == lion.Lion(beta2=0.95)
    assert recipe.identity["training.optimizer.beta2"] == 0.95
    with pytest.raises(UserError, match=r"training\.optimizer\.beta3: no such key of lion"):
        lion_recipe("training.optimizer.beta3=0")


def test_the_plan_counts_its_state(lion_recipe: RecipeMaker) -> None:
    memory = summary.plan(lion_recipe())["memory_bytes"]
    assert memory["optimizer"] == memory["parameters"] + 4


@pytest.mark.parametrize(
    "mesh",
    [
        pytest.param((), id="one device"),
        pytest.param(("mesh.data=2", "mesh.zero=1"), id="two"),
    ],
)
@pytest.mark.slow
def test_a_run_is_saved_restored_and_verified(
    run: RunDirectory, lion_recipe: RecipeMaker, tmp_path: Path, mesh: tuple[str, ...]
) -> None:
    need_devices(2 if mesh else 1)
    recipe = lion_recipe(*SECTIONS, f"corpus.source={tmp_path / 'text.txt'}", "training.checkpoint_every=4", *mesh)
    train(run, recipe, 4)
    assert "going on from checkpoint 4" in train(run, recipe, 8).messages
    assert verify(run, recipe, None, None, lambda line: None) == (8, None)
