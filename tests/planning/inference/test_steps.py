"""Steps of inference on eight devices, beside the whole forward pass on one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.model.decoder import Forward, logits
from palmetto.model.held import hold
from palmetto.model.layout import Arranged, arrange
from palmetto.model.tuning import ACCELERATOR
from palmetto.model.weights import initialize
from palmetto.planning.inference.arrays import TUNING, Arrays
from palmetto.planning.inference.division import divide
from palmetto.planning.inference.layouts import LAYOUTS
from palmetto.planning.inference.memory import APART
from palmetto.planning.inference.phases import Phase
from palmetto.planning.inference.steps import Step
from palmetto.planning.network.topology import parse
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights
from tests.conftest import RecipeMaker, need_devices

BATCH, LENGTH = 8, 8


def alone(recipe: Recipe, parameters: Any, tokens: jax.Array) -> jax.Array:
    """The log-probabilities of the tokens after each position, computed at once and on one device."""
    arranged = arrange(parameters, recipe.model, ACCELERATOR)
    states, _ = Forward(recipe.model, ACCELERATOR, rematerialize=None).states(arranged, tokens)
    return jax.nn.log_softmax(logits(arranged.unembedding, states))


def placed(described: Any, arrays: Any) -> Any:
    """Arrays where abstract ones are."""
    return jax.tree.map(lambda like, array: jax.device_put(array, like.sharding), described, arrays)


def ready(recipe: Recipe, parameters: Any, layout: str, held: Weights) -> tuple[Step, Arranged, ContiguousCache]:
    """A step in a layout, with its weights and an empty cache."""
    phase = Phase("decode", BATCH, LENGTH)
    division = divide(recipe, parse("v4:2x2x2"), phase, layout)
    arrays = Arrays(recipe, division, jax.devices()[:8])
    model = recipe.model
    weights = hold(arrange(parameters, model, TUNING, APART), model, held, TUNING, APART)
    empty = jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), arrays.cache(phase))
    return Step(recipe, arrays, division), placed(arrays.weights(held), weights), placed(arrays.cache(phase), empty)


OTHER_HEADS = [("ws1d-heads", (8, 8)), ("ws2d-heads", (8, 2)), ("wgx-batch", (4, 4))]


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "heads"), [*((layout, (4, 1)) for layout in LAYOUTS), *OTHER_HEADS])
def test_steps_are_those_of_one_device(layout: str, heads: tuple[int, int], tiny_recipe: RecipeMaker) -> None:
    need_devices(8)
    sizes = (
        f"model.heads={heads[0]}",
        f"model.key_value_heads={heads[1]}",
        "model.head_size=8",
        "tokens.vocabulary_size=304",
    )
    recipe = tiny_recipe(*sizes)
    parameters = initialize(recipe.model, recipe.model_vocabulary, seed=1)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH)), jnp.int32)
    expected = np.asarray(alone(recipe, parameters, tokens))
    step, weights, cache = ready(recipe, parameters, layout, "float32")
    positions = jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)
    last = slice(LENGTH - 1, LENGTH)
    first, cache = jax.jit(step.prefill)(weights, tokens[:, :-1], positions[:, :-1], cache)
    second, cache = jax.jit(step.decode)(weights, tokens[:, last], positions[:, last], cache)
    for chosen, after in ((first, expected[:, -2]), (second, expected[:, -1])):
        assert np.asarray(chosen.tokens).tolist() == after.argmax(-1).tolist()
        np.testing.assert_allclose(chosen.logprobs, after.max(-1), atol=2e-5)
    assert int(cache.written) == 0


@pytest.mark.slow
def test_int8_weights_give_almost_the_same(tiny_recipe: RecipeMaker) -> None:
    need_devices(8)
    recipe = tiny_recipe("model.heads=4")
    parameters = initialize(recipe.model, recipe.model_vocabulary, seed=1)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 300, (BATCH, LENGTH)), jnp.int32)
    expected = np.asarray(alone(recipe, parameters, tokens))[:, -1]
    step, weights, cache = ready(recipe, parameters, "ws2d-heads", "int8")
    positions = jnp.broadcast_to(jnp.arange(LENGTH), tokens.shape)
    chosen, _ = jax.jit(step.prefill)(weights, tokens, positions, cache)
    own = np.take_along_axis(expected, np.asarray(chosen.tokens)[:, None], axis=-1)[:, 0]
    error = np.abs(np.asarray(chosen.logprobs) - own)
    assert 0 < error.max() < 0.1
