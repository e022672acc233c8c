"""The validation loss matches the reference on every mesh, with one gathered layer at a time."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import layout, tuning
from palmetto.model.weights import Parameters, weight_table
from palmetto.parallel.sharding import Sharding
from palmetto.recipe import Recipe
from palmetto.recipe.model import Model
from palmetto.tokens.store import TokenStore, write
from palmetto.training.step import state as states
from palmetto.training.step.execution import make_batch
from palmetto.training.step.loss import Batch, token_losses
from palmetto.training.step.validation import make_validation, window_losses
from tests.conftest import slow_but
from tests.model.test_catalogue import some
from tests.references.quickly import QUICKLY
from tests.references.spread import LENGTH, VOCABULARY, make_recipe, on, some_state

pytestmark = pytest.mark.optimized

WINDOWS, EOD = 11, 1
GLAM: dict[str, Any] = {"count": 4, "every": 2}
MODELS: dict[str, Model] = {
    "palm": some(layers=4, key_value_heads=1),
    "learned": some(
        positions={"name": "learned", "length": 64}, layers=4, norm_position="post", biases=True, tied_embedding=False
    ),
    "glam": some("t5", layers=4, block="serial", norm="rms", experts=GLAM),
}
OBJECTIVES = {"palm": {}, "learned": {"objective": {"name": "prefix"}}, "glam": {}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    path: Path = tmp_path_factory.mktemp("validation") / "validation.tokens"
    tokens = np.random.default_rng(0).integers(2, VOCABULARY, WINDOWS * LENGTH + 1)
    write(
        path,
        [tokens],
        vocabulary_size=VOCABULARY,
        sequence_length=LENGTH,
        documents=1,
        vocabulary_digest="",
        source_fingerprint="",
    )
    return TokenStore.open(path)


def of(name: str) -> Recipe:
    return make_recipe(MODELS[name], **OBJECTIVES[name])


def by_window(recipe: Recipe, store: TokenStore, arrangement: tuning.Tuning = tuning.CPU) -> np.ndarray:
    """Returns the mean loss of each of the first eight windows, shape [windows]."""
    sharding = Sharding(recipe)
    batch = make_batch(recipe, store.read(np.arange(8)), np.arange(8), EOD)
    losses = jax.jit(window_losses(recipe, arrangement, sharding), compiler_options=QUICKLY)
    means, _ = losses(some_state(recipe, sharding).parameters, sharding.everywhere(batch))
    return np.asarray(means)


@pytest.fixture(scope="module")
def alone(store: TokenStore) -> Callable[[str], np.ndarray]:
    return functools.cache(lambda name: by_window(of(name), store))


@pytest.mark.parametrize("name", slow_but(["palm"], MODELS))
def test_the_validation_loss_averages_all_scored_tokens(name: str, store: TokenStore) -> None:
    recipe = of(name)
    sharding = Sharding(recipe)
    batch = make_batch(recipe, store.read(np.arange(WINDOWS)), (np.int64(1) << 61) + np.arange(WINDOWS), EOD)
    parameters = some_state(recipe, sharding).parameters

    def plainly(parameters: Parameters, window: Batch) -> jax.Array:
        arranged = layout.arrange(parameters, recipe.model, tuning.ACCELERATOR)
        return token_losses(arranged, window, recipe.model, tuning.ACCELERATOR).cross_entropy

    loss, total, count = jax.jit(plainly, compiler_options=QUICKLY), 0.0, 0
    for window in range(WINDOWS):
        one = jax.tree.map(lambda array, window=window: jnp.asarray(array[window : window + 1]), batch)
        scored = one.tokens.shape[1] - 1 if one.scored is None else int(one.scored.sum())
        total += scored * float(loss(parameters, one))
        count += scored
    validate = make_validation(recipe, tuning.CPU, sharding, store, EOD)
    assert validate(parameters) == pytest.approx(total / count, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("palm", {"data": 4, "zero": 2}),
        ("palm", {"stage": 2, "data": 2, "model": 2}),
        ("palm", {"pod": 2, "stage": 4}),
        ("palm", {"stage": 2, "sequence": 2}),
        ("learned", {"stage": 2, "data": 2, "zero": 1}),
        ("glam", {"stage": 2, "expert": 2, "data": 2}),
    ],
    ids=str,
)
def test_the_validation_loss_is_the_same_on_every_mesh(
    name: str, mesh: dict[str, int], store: TokenStore, alone: Callable[[str], np.ndarray]
) -> None:
    np.testing.assert_allclose(by_window(on(of(name), **mesh), store), alone(name), rtol=2e-6)


@pytest.mark.slow
def test_a_stage_never_holds_all_layers() -> None:
    """Temporary memory falls with the number of stages, as do the weights at rest."""
    model = some(layers=16, d_model=64, head_size=32, heads=2, key_value_heads=1)
    needed = {}
    for stages in (4, 8):
        recipe = on(make_recipe(model), stage=stages)
        sharding = Sharding(recipe)
        examples: Any = jax.ShapeDtypeStruct((8, LENGTH + 1), jnp.int32, sharding=sharding.place())
        losses: Any = jax.jit(window_losses(recipe, tuning.ACCELERATOR, sharding))
        compiled = losses.lower(states.shapes(recipe, sharding).parameters, Batch(examples)).compile()
        needed[stages] = compiled.memory_analysis().temp_size_in_bytes
    table = weight_table(model, VOCABULARY)
    layers = sum(4 * math.prod(of.shape) for of in table.values() if of.stack)
    assert needed[8] < needed[4] < layers / 2, (needed, layers)
