"""Fine-tuning begins with the base's parameters and a new optimizer, and with no other base than the recipe records."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.training.base import check_base
from palmetto.training.beginning import initial_state
from tests.conftest import RecipeMaker
from tests.decoding.test_trained import VOCABULARY, drawn
from tests.references.drawn_runs import make_run


@pytest.fixture(scope="module")
def base(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("beginning") / "base", tiny_recipe)


def recipe_of(base: RunDirectory, tiny_recipe: RecipeMaker, *overrides: str, size: int = VOCABULARY) -> Recipe:
    manifest = base.newest_manifest
    assert manifest is not None
    begun = f"{{base: {base.path}, step: 10, parameters: '{manifest.parameters}'}}"
    return tiny_recipe(f"tokens.vocabulary_size={size}", f"finetuning={begun}", *overrides)


def test_it_begins_with_the_parameters_and_without_moments(base: RunDirectory, tiny_recipe: RecipeMaker) -> None:
    recipe = recipe_of(base, tiny_recipe, "training.seed=7", "training.optimizer.name=adamw")
    state = initial_state(recipe, Sharding(recipe))
    assert state.parameters.keys() == drawn(10).keys()
    for name, array in drawn(10).items():
        assert np.array_equal(np.asarray(state.parameters[name]), np.asarray(array)), name
    assert int(state.optimizer.k) == 0
    assert not any(np.any(np.asarray(array)) for array in state.optimizer.moments["m"].values())


def test_more_pieces_are_drawn_behind_the_rows_of_the_base(base: RunDirectory, tiny_recipe: RecipeMaker) -> None:
    recipe = recipe_of(base, tiny_recipe, size=VOCABULARY + 3)
    embedding = np.asarray(initial_state(recipe, Sharding(recipe)).parameters["embedding"])
    assert np.array_equal(embedding[:VOCABULARY], np.asarray(drawn(10)["embedding"]))
    assert np.all(np.std(embedding[VOCABULARY:], axis=1) > 0.5)


def test_a_moved_or_another_base_is_named(base: RunDirectory, tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    section = recipe_of(base, tiny_recipe).finetuning
    assert section is not None
    check_base(section)
    shutil.copytree(base.path, tmp_path / "copy")
    check_base(section.model_copy(update={"base": str(tmp_path / "copy")}))
    for change, words in (
        ({"base": str(tmp_path / "gone")}, "gone: no run there; expected the directory where it lies now"),
        ({"step": 11}, "no checkpoint of step 11; there are 10"),
        ({"parameters": "tree:other"}, "has the parameters tree:.*; this run begins with tree:other"),
    ):
        with pytest.raises(UserError, match=words):
            check_base(section.model_copy(update=change))
    recipe = tmp_path / "copy" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(UserError, match=r"recipe\.yaml: altered since checkpoint 10 was trained"):
        check_base(section.model_copy(update={"base": str(tmp_path / "copy")}))
