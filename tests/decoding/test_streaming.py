"""Tests texts that are longer than the cache, of models that see only the first positions and a window."""

import numpy as np
import pytest

from palmetto.decoding import cached, generate
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Request
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model import layout
from palmetto.model import weights as parameters
from palmetto.recipe.model import Model
from tests.decoding.engines import stepped
from tests.decoding.test_engine import log_softmax
from tests.decoding.test_kinds import made, whole

SINKS = {"name": "sinks", "sinks": 2, "window": 4}


def sinks(**changes: object) -> Model:
    return Model.model_validate({"layers": 2, "d_model": 16, "heads": 2, "attention": SINKS} | changes)


@pytest.mark.parametrize("kind", ["sinks", "sinks, alibi"])
def test_a_text_longer_than_the_cache_agrees_with_the_whole(kind: str) -> None:
    model, arranged = made(kind)
    limits = Limits(rows=4, block=4, blocks=4, sequences=1, longest=10_000)
    tokens = np.random.default_rng(3).integers(40, size=(1, 60)).astype(np.int32)
    of = Engine(arranged, model, limits, vocabulary_size=40)
    of.submit(Request(tuple(tokens[0].tolist()), 0, echo=True))
    got = []
    while of.busy:
        got += [token for event in stepped(of) for token in event.tokens]
    expected = log_softmax(whole(kind, tokens))
    for position, token in enumerate(got[1:]):
        assert token.logprob == pytest.approx(expected[0, position, token.id], abs=2e-5)


def test_models_that_cannot_stream_have_tables_for_every_position() -> None:
    limits = Limits(rows=8, block=16, longest=4096)
    assert limits.entries(sinks()) == 8, "one part"
    for model in (
        sinks(attention={**SINKS, "every": 2}),
        sinks(positions={"name": "t5"}),
        sinks(attention={"name": "local", "window": 4}),
    ):
        assert not cached.streams(model)
        assert limits.entries(model) == 4096 // 16


def test_generation_beyond_learned_positions_is_refused() -> None:
    model = Model.model_validate(
        {"layers": 1, "d_model": 16, "heads": 2, "positions": {"name": "learned", "length": 9}}
    )
    arranged = layout.arrange(parameters.initialize(model, 40, 0), model, cached.DECODING)
    with pytest.raises(UserError, match=r"--tokens 7: after a prompt of 3 tokens, model\.positions\.length=9 leaves"):
        generate.generate(arranged, np.zeros(3, np.int32), 7, model, (), Sampling())
