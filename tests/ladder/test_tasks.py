"""Tests the summary of evaluations of several sizes."""

import json
from pathlib import Path

import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.files import write_json, write_text
from palmetto.ladder import tasks
from palmetto.ladder.plan import cost_of
from palmetto.recipe import Recipe, loading
from palmetto.scaling.accuracy import Curve
from palmetto.scaling.laws import Law
from tests.conftest import RecipeMaker
from tests.sweeps.conftest import call

LAW = Law(np.array(0.6), np.array([30.0, 200.0]), np.array([0.4, 0.4]))
"""Bits a byte of the right answers by parameters and tokens."""
CURVE = Curve(0.25, np.array(0.95), np.array(3.0), np.array(2.0))


def point(recipe: Recipe) -> "np.typing.NDArray[np.float64]":
    cost = cost_of(recipe)
    return np.array([cost.parameters, cost.tokens], float)


def write(folder: Path, recipe: Recipe, step: int) -> Path:
    """An evaluation of a checkpoint, with scores that follow law and curve exactly."""
    write_text(folder / "run" / "recipe.yaml", loading.dump(recipe))
    taken = recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": step})})
    bits = float(LAW(point(taken))) if step else 0.0
    options = {"metric": "acc", "chance": 25.0, "error": 1.0}
    results = {
        "choices": {**options, "value": 100 * float(CURVE(np.array(bits))), "bits_per_byte": bits},
        "answers": {**options, "value": 10.0, "chance": 0.0, "bits_per_byte": None},
        "bias": {**options, "metric": "pct_stereotype", "higher_is_better": None, "value": 60.0, "bits_per_byte": bits},
        "text": {"metric": "bits_per_byte", "value": bits, "error": 0.01, "chance": 0.0, "bits_per_byte": bits},
    }
    write_json(folder / "evaluation.json", {"run": str(folder / "run"), "step": step})
    write_json(folder / "results.json", {"tasks": results})
    return folder


@pytest.fixture
def folders(tmp_path: Path, tiny_recipe: RecipeMaker) -> list[Path]:
    recipes = [
        tiny_recipe(f"model.layers={layers}", f"model.d_model={width}") for layers, width in ((1, 16), (2, 32), (4, 64))
    ]
    steps = (200, 800, 3200)
    return [write(tmp_path / f"{n}-{step}", recipe, step) for step in steps for n, recipe in enumerate(recipes)]


def test_scores_are_predicted_through_the_loss(folders: list[Path], tiny_recipe: RecipeMaker) -> None:
    target = tiny_recipe("model.layers=8", "model.d_model=128", "training.steps=20000")
    values = tasks.summarize([tasks.read(folder) for folder in folders], target)
    found = json.loads(json.dumps(values))["tasks"]["choices"]["two_steps"]
    assert found["by"] == "parameters and tokens"
    assert found["loss"] == pytest.approx(float(LAW(point(target))), rel=2e-3)
    assert found["predicted"] == pytest.approx(100 * float(CURVE(LAW(point(target)))), abs=0.5)
    low, high = found["interval"]
    assert low - 0.01 <= found["predicted"] <= high + 0.01
    assert (
        "expected a task whose right options or answers have a loss"
        in values["tasks"]["answers"]["two_steps"]["missing"]
    )
    assert "predicted" in tasks.describe(values)


def test_three_sizes_have_a_discontinuity(folders: list[Path]) -> None:
    of_one_step = [tasks.read(folder) for folder in folders[-3:]]
    values = tasks.summarize(of_one_step[::-1], None)
    ((jump,), scores) = values["tasks"]["choices"]["discontinuities"], values["tasks"]["choices"]["scores"]
    large, middle, small = (np.log(each.cost.parameters) for each in of_one_step[::-1])
    projected = scores[1] + (scores[1] - scores[2]) * (large - middle) / (middle - small)
    assert jump["projected"] == pytest.approx(projected)
    assert jump["difference"] == pytest.approx(scores[0] - projected)
    assert "bits a byte are a loss" in values["tasks"]["text"]["discontinuities"]["missing"]
    for what in ("discontinuities", "two_steps"):
        assert "pct_stereotype is no skill" in values["tasks"]["bias"][what]["missing"]
    assert values["tasks"]["choices"]["two_steps"]["by"] == "compute", "three runs determine no more"
    two = tasks.summarize(of_one_step[:2], None)["tasks"]["choices"]["discontinuities"]
    assert "2 sizes; expected at least 3" in two["missing"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"shots": 5}, "shots=5, and .* has None; expected the same"), ({"data": {"a": "2"}}, "a was another file than")],
)
def test_evaluations_of_other_settings_are_no_series(
    changes: dict[str, object], message: str, folders: list[Path]
) -> None:
    for folder, more in ((folders[0], {"data": {"a": "1"}}), (folders[1], changes)):
        write_json(folder / "evaluation.json", {**json.loads((folder / "evaluation.json").read_text()), **more})
    with pytest.raises(UserError, match=f"{folders[1]}: {message}"):
        tasks.summarize([tasks.read(folder) for folder in folders], None)


def test_folders_without_an_evaluation_or_a_step_are_refused(tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    with pytest.raises(UserError, match="no finished evaluation"):
        tasks.read(tmp_path)
    with pytest.raises(UserError, match="has taken no step"):
        tasks.read(write(tmp_path / "untrained", tiny_recipe(), 0))


def test_the_command_answers_in_json(folders: list[Path], tmp_path: Path, tiny_recipe: RecipeMaker) -> None:
    write_text(tmp_path / "target.yaml", loading.dump(tiny_recipe("model.d_model=64", "training.steps=9000")))
    out, _ = call(tmp_path, "scaling", *folders, "--predict", "target.yaml", "--json")
    values = json.loads(out)
    assert [model["folder"] for model in values["models"]] == list(map(str, folders))
    low, high = values["tasks"]["choices"]["two_steps"]["interval"]
    assert low <= high
