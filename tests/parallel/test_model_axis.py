"""Layers whose heads and feed-forwards devices share: loss and gradients as on one device, for every kind of part."""

import functools
from typing import Any

import pytest

from palmetto.model import layout
from palmetto.recipe.model import Model
from tests.model.test_catalogue import some
from tests.parallel.spread import LENGTH, Taken, check_same, make_recipe, on, take_gradient

LEARNED: dict[str, Any] = {"name": "learned", "length": LENGTH}
MODELS: dict[str, Model] = {
    "palm": some(layers=1, key_value_heads=1),
    "post": some(
        "alibi", layers=1, norm_position="post", biases=True, norm_bias=True, embedding_norm=True, feedforward="geglu"
    ),
    "sandwich": some("transformer-xl", "local", layers=1, norm_position="sandwich", key_value_heads=4, qk_norm=True),
    "deep": some(positions=LEARNED, layers=1, block="serial", norm_position="deep", biases=True, feedforward="gelu"),
    "t5": some("t5", layers=1, block="serial", norm="rms", key_value_heads=4, qk_norm=True, tied_embedding=False),
    "experts": some("sinusoidal", "full", "capacity", layers=1, block="serial"),
}
ARRANGEMENTS = dict.fromkeys(MODELS, layout.CPU._replace(query_rows=5, block_rows=8, logit_rows=7))
ARRANGEMENTS["experts"] = layout.ACCELERATOR
CASES: list[tuple[str, dict[str, int]]] = [
    ("palm", {"model": 2}),
    *((name, {"data": 2, "model": 2}) for name in MODELS if name != "experts"),
    ("experts", {"data": 2, "model": 2, "zero": 1}),
]


@functools.cache
def alone(name: str) -> Taken:
    return take_gradient(make_recipe(MODELS[name]), ARRANGEMENTS[name])


@pytest.mark.parametrize(("name", "mesh"), CASES, ids=str)
def test_loss_and_gradients_are_those_of_one_device(name: str, mesh: dict[str, int]) -> None:
    check_same(take_gradient(on(make_recipe(MODELS[name]), **mesh), ARRANGEMENTS[name]), alone(name))
