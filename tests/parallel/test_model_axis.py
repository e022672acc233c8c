"""Compares loss and gradients of layers that devices share along model with one device's, for every kind of part."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from palmetto.model import accelerated, tuning
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.training.step import state as states
from palmetto.training.step.loss import Batch
from palmetto.training.step.update import make_step
from palmetto.training.step.validation import window_losses
from tests.conftest import slow_but
from tests.model.test_catalogue import some
from tests.references.spread import (
    LENGTH,
    Taken,
    check_same,
    compile_gradient,
    make_recipe,
    on,
    some_batch,
    take_gradient,
)

LEARNED: dict[str, Any] = {"name": "learned", "length": LENGTH}
MODELS: dict[str, Model] = {
    "palm": some(layers=1, key_value_heads=1),
    "post": some(
        "alibi", layers=1, norm_position="post", biases=True, norm_bias=True, embedding_norm=True, feedforward="geglu"
    ),
    "sandwich": some("transformer-xl", "local", layers=1, norm_position="sandwich", key_value_heads=4, qk_norm=True),
    "deep": some(positions=LEARNED, layers=1, block="serial", norm_position="deep", biases=True, feedforward="gelu"),
    "t5": some("t5", layers=1, block="serial", norm="rms", key_value_heads=4, qk_norm=True, tied_embedding=False),
    "grouped": some("alibi", "sinks", layers=1, key_value_heads=2),
    "experts": some("sinusoidal", "full", "capacity", layers=1, block="serial"),
}
ARRANGEMENTS = dict.fromkeys(MODELS, tuning.CPU._replace(query_rows=5, block_rows=8, logit_rows=7))
ARRANGEMENTS["experts"] = tuning.ACCELERATOR
CASES: list[tuple[str, dict[str, int]]] = [
    *((name, {"data": 2, "model": 2}) for name in MODELS if name not in ("grouped", "experts")),
    ("grouped", {"model": 4}),  # two devices share a key/value head
    ("experts", {"data": 2, "model": 2, "zero": 1}),
]


@functools.cache
def alone(name: str) -> Taken:
    return take_gradient(make_recipe(MODELS[name]), ARRANGEMENTS[name])


def test_the_loss_and_gradients_of_palm_agree_with_one_device() -> None:
    check_same(take_gradient(on(make_recipe(MODELS["palm"]), model=2), ARRANGEMENTS["palm"]), alone("palm"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mesh"), CASES, ids=str)
def test_loss_and_gradients_agree_with_one_device(name: str, mesh: dict[str, int]) -> None:
    check_same(take_gradient(on(make_recipe(MODELS[name]), **mesh), ARRANGEMENTS[name]), alone(name))


def test_queries_of_other_heads_are_not_gathered() -> None:
    """Left to itself, XLA would gather the queries and compute all heads on each device."""
    recipe = on(make_recipe(MODELS["palm"]), model=2)
    program = compile_gradient(recipe, ARRANGEMENTS["palm"], some_batch(recipe))[0].as_text()
    assert program
    assert "all-gather(" in program
    assert not re.search(rf"f32\[2,{LENGTH},{recipe.model.heads},\d+\]\S* all-gather\(", program)


@pytest.mark.parametrize(
    "mesh", slow_but([{"data": 2, "model": 2}], [{"data": 2}, {"data": 2, "model": 2}, {"model": 4}]), ids=str
)
def test_each_device_calls_the_tpu_kernel_for_its_heads(mesh: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX refuses to lower the kernel if any axis is left to XLA."""
    monkeypatch.setattr(accelerated, "choose", lambda *_: accelerated.splash_attention)
    model = {"layers": 1, "d_model": 32, "heads": 4, "head_size": 128, "key_value_heads": 2}
    values = make_recipe(some(layers=1)).model_dump() | {"model": model}
    recipe = on(Recipe.model_validate(values | {"tokens": values["tokens"] | {"sequence_length": 128}}), **mesh)
    sharding = Sharding(recipe)
    tokens: Any = jax.ShapeDtypeStruct((4, 2, 129), jnp.int32, sharding=sharding.place())
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=sharding.place())
    step: Any = make_step(recipe, tuning.for_platform("tpu"), sharding)
    lowered = step.trace(states.shapes(recipe, sharding), Batch(tokens), rate).lower(lowering_platforms=("tpu",))
    kernels = [line for line in lowered.as_text().splitlines() if "tpu_custom_call" in line]
    own = 4 // mesh.get("model", 1)
    assert kernels
    assert all(f"tensor<2x{own}x128x128xf32>" in line for line in kernels)

    windows: Any = jax.ShapeDtypeStruct((8, 129), jnp.int32, sharding=sharding.place())
    losses = jax.jit(window_losses(recipe, tuning.for_platform("tpu"), sharding))
    parameters = states.shapes(recipe, sharding).parameters
    lowered = losses.trace(parameters, Batch(windows)).lower(lowering_platforms=("tpu",))
    assert "tpu_custom_call" in lowered.as_text()
