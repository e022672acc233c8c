"""Tests the cache of a Λ-shaped window, which has a fixed size for any number of positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding import cached, generate
from palmetto.decoding.caches.windowed import WindowedCache
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model import decoder, layout, tuning
from palmetto.model import weights as parameters
from palmetto.recipe.model import Model
from tests.references.quickly import QUICKLY

SINKS = {"name": "sinks", "sinks": 2, "window": 4}
PIECE = 5
LENGTH = 40


def sinks(**changes: object) -> Model:
    return Model.model_validate({"layers": 2, "d_model": 16, "heads": 2, "attention": SINKS} | changes)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "STREAMED", PIECE)
    monkeypatch.setattr(generate, "STREAMED", PIECE)


@pytest.mark.slow
@pytest.mark.parametrize("positions", [{"name": "rotary"}, {"name": "alibi"}], ids=lambda positions: positions["name"])
def test_streamed_logits_agree_with_the_whole_sequence(positions: dict[str, str]) -> None:
    model = sinks(positions=positions)
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, cached.DECODING)
    tokens = jax.random.randint(jax.random.key(1), (2, LENGTH), 0, 40)

    @partial(jax.jit, compiler_options=QUICKLY)
    def whole() -> jax.Array:
        return decoder.logits(
            arranged.unembedding, decoder.Forward(model, tuning.ACCELERATOR).states(arranged, tokens)[0]
        )

    extend = jax.jit(cached.extend, static_argnums=4, compiler_options=QUICKLY)
    held = cached.empty(model, 2, 1000)
    assert isinstance(held, WindowedCache)
    assert held.keys[0].shape[2] == 2 + 4 + PIECE
    got: list[jax.Array] = []

    def run(start: int, end: int, held: WindowedCache) -> WindowedCache:
        logits, held = extend(arranged, tokens[:, start:end], cached.following(held, end - start), held, model)
        got.append(logits)
        return held

    for start in range(0, 20, PIECE):
        held = run(start, start + PIECE, held)
    for start in range(20, LENGTH):
        held = run(start, start + 1, held)
    np.testing.assert_allclose(jnp.concatenate(got, axis=1), whole(), atol=1e-5)
    assert held.length.tolist() == [LENGTH, LENGTH]


def test_models_that_cannot_stream_keep_every_position() -> None:
    for model in (
        sinks(attention={**SINKS, "every": 2}),
        sinks(positions={"name": "t5"}),
        sinks(attention={"name": "local", "window": 4}),
    ):
        assert not cached.streams(model)
        assert cached.empty(model, 1, 100).keys[0].shape[2] == 100


@pytest.mark.slow
def test_generation_continues_a_prompt_longer_than_the_cache() -> None:
    """The tokens are those that a cache of all positions gives."""
    model = sinks()
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, cached.DECODING)
    prompt = np.asarray(jax.random.randint(jax.random.key(2), (23,), 0, 40), np.int32)

    def chosen() -> list[int]:
        return generate.generate(arranged, prompt, 12, model, 40, Sampling()).tolist()

    streamed = chosen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cached, "STREAMED", 100)
        patch.setattr(generate, "STREAMED", 100)
        jax.clear_caches()
        assert chosen() == streamed
    jax.clear_caches()


def test_generation_beyond_learned_positions_is_refused() -> None:
    model = Model.model_validate(
        {"layers": 1, "d_model": 16, "heads": 2, "positions": {"name": "learned", "length": 9}}
    )
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, cached.DECODING)
    with pytest.raises(UserError, match=r"--tokens 7: behind a prompt of 3 tokens, model\.positions\.length=9 leaves"):
        generate.generate(arranged, np.zeros(3, np.int32), 7, model, 40, Sampling())
