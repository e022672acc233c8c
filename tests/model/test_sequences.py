"""Examples side by side in one sequence give what each gives alone, with every kind of attention and of positions."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model import decoder, layout
from palmetto.model.sequences import Sequences
from palmetto.model.weights import Parameters
from palmetto.tokens.marks import starts_of
from tests.conftest import slow_but
from tests.model.test_catalogue import ATTENTIONS, LAYOUTS, MODELS, POSITIONS, VOCABULARY, agree, some_tokens
from tests.references import catalogue
from tests.references.quickly import QUICKLY

pytestmark = pytest.mark.optimized

LENGTH = 15
ENDS = ((4, 13), (9, 10))
"""The ends of the examples of each sequence but the last."""
KINDS = [
    "palm",
    *(name for name in (*POSITIONS, *ATTENTIONS) if name in MODELS),
    *("sinks alibi", "sinks t5", "parallel windows alibi", "parallel windows learned", "memory learned"),
    *("local every second", "experts dropless"),
]
CASES = [
    *((name, "blocked") for name in KINDS),
    *((name, "accelerator blocked") for name in ("palm", "t5", "sinks", "memory")),
    *((name, "cpu") for name in ("palm", "alibi")),
    *((name, "native") for name in ("palm", "local", "local every second")),
]


def starts() -> jax.Array:
    begins = np.zeros((2, LENGTH), bool)
    for row, ends in enumerate(ENDS):
        begins[row, [0, *ends]] = True
    return jnp.asarray(starts_of(begins))


@functools.cache
def compiled(name: str, arrangement: str) -> Callable[[Parameters, jax.Array, jax.Array], jax.Array]:
    model, chosen = MODELS[name], LAYOUTS[arrangement]

    def forward(parameters: Parameters, tokens: jax.Array, starts: jax.Array) -> jax.Array:
        arranged = layout.arrange(parameters, model, chosen)
        states, _ = decoder.Forward(model, chosen).states(arranged, tokens, sequences=Sequences(starts=starts))
        return decoder.logits(arranged.unembedding, states)

    return jax.jit(forward, compiler_options=QUICKLY)


QUICK = [
    *((name, "native") for name in ("palm", "local")),
    *((name, "blocked") for name in ("palm", "t5", "sinks", "learned", "memory")),
]


@pytest.mark.parametrize(("name", "arrangement"), slow_but(QUICK, CASES))
def test_examples_side_by_side_are_as_each_alone(name: str, arrangement: str) -> None:
    model, tokens = MODELS[name], some_tokens(0, LENGTH)
    parameters = catalogue.draw(model, VOCABULARY, 0)
    given = np.asarray(
        compiled(name, arrangement)(jax.tree.map(jnp.asarray, parameters), jnp.asarray(tokens), starts())
    )
    for row, ends in enumerate(ENDS):
        for begin, end in zip((0, *ends), (*ends, LENGTH), strict=True):
            alone = catalogue.forward(model, parameters, tokens[row : row + 1, begin:end]).logits
            assert agree(given[row : row + 1, begin:end], alone, 1e-5), (begin, end)


@pytest.mark.parametrize("name", slow_but(["palm"], KINDS))
def test_no_example_changes_the_bits_of_another(name: str) -> None:
    parameters, tokens = catalogue.draw(MODELS[name], VOCABULARY, 0), some_tokens(0, LENGTH)
    changed = tokens.copy()
    changed[0, 5] = (changed[0, 5] + 1) % VOCABULARY
    here, there = (
        np.asarray(compiled(name, "blocked")(jax.tree.map(jnp.asarray, parameters), jnp.asarray(each), starts()))
        for each in (tokens, changed)
    )
    begin, end = ENDS[0]
    assert np.array_equal(here[0, :begin], there[0, :begin])
    assert np.array_equal(here[0, end:], there[0, end:])
    assert not np.array_equal(here[0, begin:end], there[0, begin:end])
    assert np.array_equal(here[1], there[1])


def test_each_place_knows_where_its_example_begins() -> None:
    assert starts()[0].tolist() == [0] * 4 + [4] * 9 + [13] * 2
    assert starts_of(np.zeros(3, bool)).tolist() == [0, 0, 0]
