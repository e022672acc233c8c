"""Recipes made smaller and larger."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.ladder.sizes import of_size, of_tokens
from palmetto.model.weights import active
from palmetto.recipe import loading
from palmetto.tokens.order import Ramp


def test_palm_8b_grows_into_palm_62b() -> None:
    found, published = of_size(loading.load("palm-8b"), 62.5e9), loading.load("palm-62b")
    assert found.model == published.model


@settings(max_examples=12)
@given(st.sampled_from(["quickstart", "palm-15m", "glam-15m-8e", "llama3-8b"]), st.floats(0.7, 3))
def test_a_size_is_a_model_of_the_family(name: str, factor: float) -> None:
    recipe = loading.load(name)
    wanted = factor * active(recipe.model, recipe.model_vocabulary)
    model = of_size(recipe, wanted).model
    assert abs(math.log(active(model, recipe.model_vocabulary) / wanted)) < math.log(1.5)
    assert model.query_size == recipe.model.query_size
    for one in ("heads", "feedforward_size"):
        assert getattr(model, one) / model.d_model == pytest.approx(getattr(recipe.model, one) / recipe.model.d_model)
    if recipe.model.key_value_heads > 1:
        assert model.heads / model.key_value_heads == recipe.model.heads / recipe.model.key_value_heads
    same = {"layers", "d_model", "heads", "key_value_heads", "d_ff", "experts"}
    assert model.model_dump(exclude=same) == recipe.model.model_dump(exclude=same)
    assert (model.experts is None) == (recipe.model.experts is None)


def test_width_and_depth_grow_together() -> None:
    recipe = loading.load("palm-8b")
    ratios = [of_size(recipe, size).model for size in (1e9, 1e10, 1e11)]
    assert all(0.7 < model.d_model / model.layers / 128 < 1.4 for model in ratios)


def test_a_size_that_no_model_of_the_family_has_is_refused() -> None:
    with pytest.raises(UserError, match="--sizes 10000: quickstart has no model near this size; its smallest"):
        of_size(loading.load("quickstart"), 1e4)


def test_a_short_run_keeps_every_batch_size() -> None:
    recipe = loading.load("palm-1m", ["training.batch_size={0: 8, 500: 16, 600: 32}"])
    before = Ramp(recipe.training.batch_ramp).sequences_before(2001) * 256
    assert of_tokens(recipe, before / 2000).training.batch_size == {0: 8, 1: 16, 2: 32}


def test_the_shape_of_a_run_stays_with_its_number_of_tokens() -> None:
    recipe = loading.load(
        "palm-1m", ["training.batch_size={0: 8, 500: 16}", "training.schedule={name: cosine, warmup: 100}"]
    )
    before = Ramp(recipe.training.batch_ramp).sequences_before(2001) * 256
    found = of_tokens(recipe, before / 4).training
    assert (found.steps, found.batch_size) == (500, {0: 8, 125: 16})
    assert found.schedule.model_dump() == recipe.training.schedule.model_dump() | {"warmup": 25}
    assert found.model_dump(exclude={"steps", "batch_size", "schedule"}) == recipe.training.model_dump(
        exclude={"steps", "batch_size", "schedule"}
    )
