"""Adapters begin as nothing, are merged to the bit, and alone are trained."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.errors import UserError
from palmetto.model import layout, tuning
from palmetto.model.adapters import merged, without_adapters
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import Parameters, weight_table
from palmetto.recipe import Recipe
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import initial_state
from palmetto.training.step.update import make_step
from tests.conftest import RecipeMaker
from tests.references.quickly import QUICKLY

LORA = "model.lora={weights: [q, up, embedding], rank: 3, alpha: 6}"


def arranged(parameters: Parameters, recipe: Recipe) -> list[np.ndarray]:
    return [np.asarray(array) for array in jax.tree.leaves(layout.arrange(parameters, recipe.model, tuning.CPU))]


def some_batch() -> Batch:
    return Batch(jnp.asarray(np.random.default_rng(0).integers(300, size=(4, 2, 17)), jnp.int32))


def test_the_rows_of_adapters_follow_from_their_weights(tiny_recipe: RecipeMaker) -> None:
    table = parameter_table(tiny_recipe(LORA))
    added = {name: row for name, row in table.items() if row.adapts}
    assert {name: row.shape for name, row in added.items()} == {
        "q_lora_a": (2, 32, 3),
        "q_lora_b": (2, 3, 32),
        "up_lora_a": (2, 32, 3),
        "up_lora_b": (2, 3, 128),
        "embedding_lora_a": (300, 3),
        "embedding_lora_b": (3, 32),
    }
    assert {name for name, row in table.items() if not row.frozen} == set(added)
    bare = {name: row._replace(frozen=False) for name, row in without_adapters(table).items()}
    assert bare == weight_table(tiny_recipe().model, 300)


def test_adapters_begin_as_nothing(tiny_recipe: RecipeMaker) -> None:
    recipe, plain = tiny_recipe(LORA), tiny_recipe()
    adapted, whole = (initial_state(each).parameters for each in (recipe, plain))
    assert np.any(np.asarray(adapted["q_lora_a"]))
    for ours, theirs in zip(arranged(adapted, recipe), arranged(whole, plain), strict=True):
        assert np.array_equal(ours, theirs)


def test_merged_weights_are_the_sum_in_float64_and_the_bits_of_unmerged(tiny_recipe: RecipeMaker) -> None:
    recipe, plain = tiny_recipe(LORA), tiny_recipe()
    parameters = dict(initial_state(recipe).parameters)
    random = np.random.default_rng(0)
    for name in parameters:
        if name.endswith("_lora_b"):
            parameters[name] = jnp.asarray(random.normal(size=parameters[name].shape), jnp.float32)
    whole = merged(parameters, without_adapters(parameter_table(recipe)), recipe.model.lora)
    doubles = {name: np.asarray(array, float) for name, array in parameters.items()}
    for name in ("q", "up", "embedding"):
        expected = doubles[name] + 6 / 3 * doubles[f"{name}_lora_a"] @ doubles[f"{name}_lora_b"]
        assert np.abs(np.asarray(whole[name]) - expected).max() < 1e-5 * np.abs(expected).max()
    assert whole["k"] is parameters["k"]
    for ours, theirs in zip(arranged(parameters, recipe), arranged(whole, plain), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        ((LORA,), {"q_lora_b", "up_lora_b", "embedding_lora_b"}),
        (("training.frozen=[embedding, '*norm', k, v]",), {"q", "o", "gate", "up", "down"}),
    ],
    ids=["adapters", "frozen"],
)
def test_frozen_weights_keep_their_bits_and_have_no_moments(
    tiny_recipe: RecipeMaker, overrides: tuple[str, ...], trained: set[str]
) -> None:
    recipe = tiny_recipe(*overrides, "training.optimizer.name=adamw", "model.layers=1")
    table = parameter_table(recipe)
    before = initial_state(recipe)
    assert set(before.optimizer.moments["m"]) == {name for name, row in table.items() if not row.frozen}
    kept = {name: np.array(array) for name, array in before.parameters.items()}
    step = jax.jit(make_step(recipe, tuning.CPU), compiler_options=QUICKLY)
    after, metrics = step(before, some_batch(), jnp.float32(0.01))
    changed = {name for name, array in after.parameters.items() if not np.array_equal(np.asarray(array), kept[name])}
    # A decays as other matrices do, though its gradient is zero as long as B is.
    assert trained <= changed <= {name for name, row in table.items() if not row.frozen}
    assert float(metrics.grad_norm) > 0


def test_the_first_gradient_of_b_is_that_of_its_weight(tiny_recipe: RecipeMaker) -> None:
    """dB = α/r · Aᵀ·dW (by the chain rule), and dA = 0, as B is."""
    recipe, plain = tiny_recipe(LORA), tiny_recipe()
    adapted, whole = (dict(initial_state(each).parameters) for each in (recipe, plain))

    def pulled(parameters: Parameters, recipe: Recipe) -> dict[str, Any]:
        found, pull = jax.vjp(lambda p: layout.arrange(p, recipe.model, tuning.CPU), parameters)
        gradients: dict[str, Any] = pull(jax.tree.map(jnp.ones_like, found))[0]
        return gradients

    ours, theirs = pulled(adapted, recipe), pulled(whole, plain)
    expected = 2 * np.asarray(adapted["up_lora_a"], float).swapaxes(1, 2) @ np.asarray(theirs["up"], float)
    assert np.asarray(ours["up_lora_b"]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert not np.any(np.asarray(ours["up_lora_a"]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.lora={weights: [qq], rank: 2}", "model.lora.weights=qq: matches none of .*did you mean 'q'"),
        ("model.lora={weights: [norm], rank: 2}", "model.lora.weights=norm: matches none of"),
        ("training.frozen=[nothing]", "training.frozen=nothing: matches none of"),
        ("training.frozen=['*']", r"training\.frozen=\*: nothing is left to train"),
    ],
)
def test_a_pattern_without_a_weight_is_refused(tiny_recipe: RecipeMaker, override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parameter_table(tiny_recipe(override))


def test_adapters_refuse_divided_weights(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mesh\.zero=3: adapters are on every device as a whole: 0 would do"):
        tiny_recipe(LORA, "mesh.data=2")
    assert tiny_recipe(LORA, "mesh.data=2", "mesh.zero=0").model.lora
