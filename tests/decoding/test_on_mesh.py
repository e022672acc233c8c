"""Tests decoding on meshes: logits agree with one device, and weights and cache remain divided."""

import re
from functools import cache

import jax
import numpy as np
import pytest

from palmetto.decoding import step
from palmetto.decoding.cached import DECODING, extend
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Request
from palmetto.decoding.rows import lay_out
from palmetto.decoding.sampling import Sampling
from palmetto.model.layout import arrange
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model
from tests.conftest import need_devices
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


@cache
def made(name: str, data: int, devices: int) -> Engine:
    """Returns an engine on a mesh, whose blocks are too few for all sequences at once."""
    model = MODELS[name]
    recipe = on(make_recipe(model), model=devices, data=data)
    sharding = Sharding(recipe)
    arranged = arrange(some_state(recipe, sharding).parameters, model, DECODING, recipe.mesh)
    limits = Limits(rows=8, block=4, blocks=18, sequences=4, longest=32)
    return Engine(arranged, model, limits, vocabulary_size=VOCABULARY, sharding=sharding)


REQUESTS = [
    *(Request(tuple(row.tolist()) * 3, 1, echo=True, choices=2) for row in TOKENS),
    *(Request(tuple(row.tolist()), 8, Sampling(1.0, top_k=20), seed=5, choices=2) for row in TOKENS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "devices"), [(1, 2), (2, 2), (4, 1)])
@pytest.mark.parametrize("name", MODELS)
def test_the_engine_agrees_with_one_device(name: str, data: int, devices: int) -> None:
    need_devices(data * devices)
    alone, divided = made(name, 1, 1).run(REQUESTS), made(name, data, devices).run(REQUESTS)
    for mine, one in zip(divided, alone, strict=True):
        for own, others in zip(mine, one, strict=True):
            assert [token.id for token in own.tokens] == [token.id for token in others.tokens]
            for token, other in zip((*own.prompt, *own.tokens), (*others.prompt, *others.tokens), strict=True):
                assert token.logprob == pytest.approx(other.logprob, abs=2e-5)


@pytest.mark.slow
def test_each_device_holds_a_share_of_the_blocks() -> None:
    of = made("one head of keys", 4, 1)
    keys = of._model._cache.keys[0]
    assert keys.shape[0] == 20, "18 blocks and the scratch block, in whole shares"
    assert {shard.data.shape[0] for shard in keys.addressable_shards} == {5}
    tables = of.scheduler.tables
    rows, entries = of._model._everywhere((lay_out([], 8, tables), (tables.blocks.copy(), tables.starts.copy())))
    cache = of._model._cache.with_tables(*entries)
    arguments = of._model._arranged, of._model._learned, rows, cache, of.model, of._model._tuning
    program = step.forward.lower(*arguments).compile().as_text() or ""
    assert "all-reduce" in program
    assert not re.findall(r"\[20,1,4,\d+\].* all-gather", program), "the blocks stay where they are"
    of.run(REQUESTS)
    assert {shard.data.shape[0] for shard in of._model._cache.keys[0].addressable_shards} == {5}, "as before"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one head of keys", "experts"])
def test_company_leaves_the_bits_on_a_mesh(name: str) -> None:
    of = made(name, 2, 2)
    together = of.run(REQUESTS)
    assert together == [of.run([request])[0] for request in REQUESTS]
