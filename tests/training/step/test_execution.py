"""The inputs of a step, and the observation that the spike detector gets of it."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from palmetto.recipe import Recipe
from palmetto.training.ledger import Line
from palmetto.training.spikes import Observation
from palmetto.training.step.execution import make_batch, observe
from tests.conftest import RecipeMaker

OBJECTIVES = {
    "prefix": "training.objective.name=prefix",
    # Several spans leave a choice of their places; a single one always ends the window.
    "spans": "training.objective={name: spans, noise: 0.3, mean_span: 1.5}",
    "mixture": "training.objective.name=mixture",
}
EOD = 7
WINDOWS = np.random.default_rng(0).integers(300, size=(24, 17)).astype(np.int32)
POSITIONS = 1000 + 3 * np.arange(24)


@pytest.fixture(scope="module")
def recipes_by_objective(tiny_recipe: RecipeMaker) -> dict[str, Recipe]:
    return {name: tiny_recipe(of) for name, of in OBJECTIVES.items()}


def test_a_causal_batch_is_the_windows_themselves(tiny_recipe: RecipeMaker) -> None:
    batch = make_batch(tiny_recipe(), WINDOWS, POSITIONS, EOD)
    assert np.array_equal(batch.tokens, WINDOWS)
    assert batch.tokens.dtype == np.int32
    assert (batch.scored, batch.prefix) == (None, None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_has_the_shapes_of_its_recipe(recipes_by_objective: dict[str, Recipe], name: str) -> None:
    recipe = recipes_by_objective[name]
    batch = make_batch(recipe, WINDOWS, POSITIONS, EOD)
    assert batch.scored is not None
    assert batch.prefix is not None
    assert batch.tokens.shape == batch.scored.shape == (24, recipe.model_length + 1)
    assert batch.prefix.shape == (24,)
    assert [array.dtype.name for array in (batch.tokens, batch.scored, batch.prefix)] == ["int32", "bool", "int32"]
    assert not np.any(batch.scored[:, 0])
    assert np.all(np.any(batch.scored, axis=1))
    assert np.max(batch.tokens) < recipe.model_vocabulary
    if name != "prefix":
        assert np.max(batch.tokens) >= recipe.tokens.vocabulary_size


@pytest.mark.parametrize("name", OBJECTIVES)
@given(cuts=st.sets(st.integers(1, 23)), order=st.permutations(range(24)))
@example(cuts=set(range(1, 24)), order=list(range(24)))
@settings(max_examples=8)
def test_an_example_depends_on_its_window_and_position_only(
    recipes_by_objective: dict[str, Recipe], name: str, cuts: set[int], order: list[int]
) -> None:
    recipe = recipes_by_objective[name]
    whole = make_batch(recipe, WINDOWS, POSITIONS, EOD)
    for group in np.split(np.array(order), sorted(cuts)):
        part = make_batch(recipe, WINDOWS[group], POSITIONS[group], EOD)
        for ours, theirs in zip(part[:3], whole[:3], strict=True):
            assert ours is not None
            assert theirs is not None
            assert np.array_equal(ours, theirs[group])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_another_position_or_seed_gives_another_example(
    recipes_by_objective: dict[str, Recipe], name: str, tiny_recipe: RecipeMaker
) -> None:
    same = np.broadcast_to(WINDOWS[:1], WINDOWS.shape)
    recipe = recipes_by_objective[name]
    batch = make_batch(recipe, same, POSITIONS, EOD)
    assert batch.scored is not None
    examples = np.concatenate([batch.tokens, batch.scored], axis=1)
    assert len(np.unique(examples, axis=0)) > 8
    reseeded = make_batch(tiny_recipe(OBJECTIVES[name], "training.seed=1"), same, POSITIONS, EOD)
    assert any(np.any(np.asarray(a) != np.asarray(b)) for a, b in zip(batch, reseeded, strict=True))


LINE = Line(
    step=5,
    attempt=1,
    loss=2.5,
    grad_norm=0.5,
    parameter_norm=9.0,
    z=1.0,
    learning_rate=0.01,
    sequences=4,
    batch="",
    applied=True,
)


@pytest.mark.parametrize(
    ("changes", "overflow"),
    [
        ({}, False),
        ({"loss_scale": 1024.0}, False),
        ({"applied": False, "grad_norm": math.inf}, False),
        ({"applied": False, "grad_norm": math.inf, "loss_scale": 1024.0}, True),
        ({"applied": False, "grad_norm": math.nan, "loss_scale": 2.0}, True),
        ({"applied": False, "grad_norm": math.inf, "loss_scale": 1.0}, False),
        ({"applied": False, "grad_norm": math.nan, "loss": math.nan, "loss_scale": 1024.0}, False),
        ({"applied": False, "grad_norm": math.nan, "loss": math.inf, "loss_scale": 1024.0}, False),
    ],
    ids=str,
)
def test_an_infinite_gradient_overflows_while_the_scale_can_fall(changes: dict[str, float], overflow: bool) -> None:
    line = LINE._replace(**changes)  # type: ignore[arg-type]
    assert observe(line) == Observation(5, line.loss, line.grad_norm, line.applied, overflow)
