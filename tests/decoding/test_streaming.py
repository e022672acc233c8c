"""A Λ-shaped window's cache: of fixed size, for any number of positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding import cache, generate
from palmetto.decoding.cache import Cache
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
    monkeypatch.setattr(cache, "STREAMED", PIECE)
    monkeypatch.setattr(generate, "STREAMED", PIECE)


@pytest.mark.parametrize("positions", [{"name": "rotary"}, {"name": "alibi"}], ids=lambda positions: positions["name"])
def test_long_beyond_its_size_it_gives_the_logits_of_the_whole_sequence(positions: dict[str, str]) -> None:
    model = sinks(positions=positions)
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, tuning.ACCELERATOR)
    tokens = jax.random.randint(jax.random.key(1), (2, LENGTH), 0, 40)

    @partial(jax.jit, compiler_options=QUICKLY)
    def whole() -> jax.Array:
        return decoder.logits(
            arranged.unembedding, decoder.hidden_states(arranged, tokens, model, tuning.ACCELERATOR)[0]
        )

    extend = jax.jit(cache.extend, static_argnums=3, compiler_options=QUICKLY)
    held = cache.empty(model, 2, 1000)
    assert held.keys.shape[3] == 2 + 4 + PIECE
    got: list[jax.Array] = []

    def run(start: int, end: int, held: Cache) -> Cache:
        logits, held = extend(arranged, tokens[:, start:end], held, model)
        got.append(logits)
        return held

    for start in range(0, 20, PIECE):
        held = run(start, start + PIECE, held)
    for start in range(20, LENGTH):
        held = run(start, start + 1, held)
    np.testing.assert_allclose(jnp.concatenate(got, axis=1), whole(), atol=1e-5)
    assert held.length == LENGTH


def test_what_cannot_stream_keeps_every_position() -> None:
    for model in (
        sinks(attention={**SINKS, "every": 2}),
        sinks(positions={"name": "t5"}),
        sinks(attention={"name": "local", "window": 4}),
    ):
        assert not cache.streams(model)
        assert cache.empty(model, 1, 100).keys.shape[3] == 100


def test_generation_goes_on_behind_a_prompt_longer_than_the_cache() -> None:
    """The same tokens as from a cache that holds everything."""
    model = sinks()
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, tuning.ACCELERATOR)
    prompt = np.asarray(jax.random.randint(jax.random.key(2), (23,), 0, 40), np.int32)

    def chosen() -> list[int]:
        return generate.generate(arranged, prompt, 12, model, 40, Sampling()).tolist()

    streamed = chosen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "STREAMED", 100)
        patch.setattr(generate, "STREAMED", 100)
        jax.clear_caches()
        assert chosen() == streamed
    jax.clear_caches()


def test_learned_positions_end_where_they_end() -> None:
    model = Model.model_validate(
        {"layers": 1, "d_model": 16, "heads": 2, "positions": {"name": "learned", "length": 9}}
    )
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, tuning.ACCELERATOR)
    with pytest.raises(UserError, match=r"--tokens 7: behind a prompt of 3 tokens, model\.positions\.length=9 leaves"):
        generate.generate(arranged, np.zeros(3, np.int32), 7, model, 40, Sampling())
