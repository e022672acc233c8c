"""Examples side by side, and dropout, give on every mesh the gradients of one device."""

import functools
from typing import Any

import numpy as np
import pytest

from palmetto.model import tuning
from palmetto.recipe import Recipe
from palmetto.tokens.dropout_keys import dropout_keys
from palmetto.tokens.marks import starts_of
from palmetto.training.step.loss import Batch
from tests.conftest import need_devices, slow_but
from tests.model.test_catalogue import some
from tests.references.spread import LEAF_COUNT, LENGTH, VOCABULARY, Taken, check_same, make_recipe, on, take_gradient

MESHES: list[dict[str, Any]] = [
    {"data": 2, "stage": 2},
    {"data": 2, "sequence": 2, "zero": 2},
    {"sequence": 4},
    {"stage": 4, "schedule": "gpipe"},
    {"model": 2, "data": 2},
]


def recipe_of() -> Recipe:
    return make_recipe(some(layers=4, key_value_heads=1), objective={"name": "examples"}, dropout=0.2)


def some_batch() -> Batch:
    random, shape = np.random.default_rng(0), (LEAF_COUNT, 2, LENGTH + 1)
    tokens = random.integers(VOCABULARY, size=shape, dtype=np.int32)
    scored, begins = random.random(shape) < 0.5, random.random(shape) < 0.2
    scored[..., 0], scored[..., 1] = False, True
    keys = dropout_keys(0, 1, np.arange(2 * LEAF_COUNT)).reshape(LEAF_COUNT, 2, 2)
    return Batch(tokens, scored, starts=starts_of(begins[..., :-1]), keys=keys)  # type: ignore[arg-type]


@functools.cache
def alone(layout: str) -> Taken:
    arrangement = {"cpu": tuning.CPU, "accelerator": tuning.ACCELERATOR}[layout]
    return take_gradient(recipe_of(), arrangement, some_batch())


@pytest.mark.slow
def test_dropout_draws_alike_in_unrolled_and_scanned_layers() -> None:
    check_same(alone("cpu"), alone("accelerator"))


@pytest.mark.parametrize("mesh", slow_but([], MESHES), ids=str)
def test_loss_and_gradients_are_those_of_one_device(mesh: dict[str, Any]) -> None:
    need_devices(8)
    check_same(take_gradient(on(recipe_of(), **mesh), tuning.ACCELERATOR, some_batch()), alone("accelerator"))
