"""Tests decoding along mesh.model: logits agree with one device, and weights and cache remain divided."""

import re

import jax
import numpy as np
import pytest

from palmetto.decoding.cached import DECODING, extend
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Request
from palmetto.model.layout import arrange
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model
from tests.model.test_catalogue import some
from tests.references.contiguous import ContiguousCache, empty, following
from tests.references.spread import VOCABULARY, make_recipe, on, some_state

MODELS: dict[str, Model] = {
    "one head of keys": some(key_value_heads=1),
    "two": some("t5", block="serial", norm="rms", key_value_heads=2, biases=True, tied_embedding=False),
    "as many as queries": some("alibi", "local", key_value_heads=4, qk_norm=True),
    "experts": some(block="serial", key_value_heads=2, experts={"count": 4, "every": 2}),
}
PIECES = (5, 1, 1)
TOKENS = np.random.default_rng(1).integers(VOCABULARY, size=(2, sum(PIECES))).astype(np.int32)


def decode(model: Model, devices: int = 1) -> tuple[list[np.ndarray], ContiguousCache, str]:
    """Returns the logits of TOKENS in pieces, the final cache, and the compiled program for one token."""
    recipe = on(make_recipe(model), model=devices)
    sharding = Sharding(recipe)
    arranged = arrange(some_state(recipe, sharding).parameters, model, DECODING, recipe.mesh)
    run = jax.jit(
        lambda arranged, tokens, cache: extend(arranged, tokens, following(cache, tokens.shape[1]), cache, model)
    )
    cache, logits, start = empty(model, 2, 16, sharding), [], 0
    for length in PIECES:
        tokens = sharding.everywhere(TOKENS[:, start : start + length])
        scores, cache = run(arranged, tokens, cache)
        logits.append(np.asarray(scores))
        start += length
    return logits, cache, run.lower(arranged, tokens, cache).compile().as_text() or ""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_agree_with_one_device_from_a_divided_cache(name: str) -> None:
    model = MODELS[name]
    alone, whole, _ = decode(model)
    logits, cache, program = decode(model, devices=2)
    for mine, one in zip(logits, alone, strict=True):
        assert np.abs(mine - one).max() < 3e-6 * np.abs(one).max()
    heads = model.key_value_heads // (1 if model.key_value_heads == 1 else 2)
    for array, all_heads in zip((*cache.keys, *cache.values), (*whole.keys, *whole.values), strict=True):
        assert array.addressable_shards[0].data.shape[1] == heads, "its own heads, or the one that all share"
        np.testing.assert_allclose(array, all_heads, rtol=0, atol=3e-6 * float(np.abs(all_heads).max()))
    gathered = re.findall(r"\w+\[([\d,]*)\]\S* all-gather\(", program)
    assert all(re.fullmatch(r"(2,1|4,4),\d+", shape) for shape in gathered), (
        f"more than the activations of a token: {gathered}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_engine_agrees_with_one_device(name: str) -> None:
    model = MODELS[name]

    def scored(devices: int) -> list[float | None]:
        recipe = on(make_recipe(model), model=devices)
        sharding = Sharding(recipe)
        arranged = arrange(some_state(recipe, sharding).parameters, model, DECODING, recipe.mesh)
        limits = Limits(rows=8, block=4, sequences=4, longest=32)
        of = Engine(arranged, model, limits, vocabulary_size=VOCABULARY, sharding=sharding)
        texts = [tuple(row.tolist()) * 3 for row in TOKENS]
        results = of.run([Request(text, 1, echo=True, choices=2) for text in texts])
        return [token.logprob for choices in results for token in choices[0].prompt]

    alone, divided = scored(1), scored(2)
    assert len(alone) == len(divided) == TOKENS.size * 3
    for mine, one in zip(divided, alone, strict=True):
        assert mine == pytest.approx(one, abs=2e-5)
