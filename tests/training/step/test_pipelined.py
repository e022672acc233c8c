"""Pipelines give the loss and gradients of one device, alone and combined with every other mesh axis."""

import functools
from typing import Any

import pytest

from palmetto.model import tuning
from palmetto.recipe.model import Model
from tests.model.test_catalogue import some
from tests.references.spread import Taken, check_same, make_recipe, on, take_gradient

MODELS: dict[str, Model] = {
    "palm": some(layers=4, key_value_heads=1),
    "untied": some("t5", layers=4, block="serial", norm="rms", biases=True, key_value_heads=2, tied_embedding=False),
    "glam": some(
        layers=4,
        block="serial",
        norm="rms",
        feedforward="geglu",
        experts={"count": 4, "every": 2, "capacity_factor": 1.0, "balance_loss": 0.3, "router_z_loss": 0.2},
    ),
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("palm", {"stage": 2}),
    ("palm", {"stage": 4, "schedule": "gpipe"}),
    ("palm", {"data": 2, "stage": 2, "model": 2}),
    ("palm", {"data": 2, "stage": 2, "sequence": 2, "zero": 2}),
    ("untied", {"pod": 2, "stage": 4, "zero": 0}),
    ("untied", {"data": 2, "stage": 2, "zero": 1, "schedule": "gpipe"}),
    ("glam", {"data": 2, "stage": 2, "expert": 2}),
    ("glam", {"stage": 2, "model": 2, "schedule": "gpipe"}),
]


@functools.cache
def alone(name: str) -> Taken:
    return take_gradient(make_recipe(MODELS[name]), tuning.ACCELERATOR)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), CASES, ids=str)
def test_loss_and_gradients_are_those_of_one_device(name: str, mesh: dict[str, Any]) -> None:
    check_same(take_gradient(on(make_recipe(MODELS[name]), **mesh), tuning.ACCELERATOR), alone(name))
