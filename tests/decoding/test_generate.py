"""Compares generated text with full forward passes: greedy choice, seeds and [eod]."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding import cached
from palmetto.decoding import generate as generation
from palmetto.decoding.generate import generate
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.model import decoder, layout, tuning
from palmetto.recipe.model import Model
from tests.references import decoder as reference
from tests.references.quickly import QUICKLY

MODEL = Model(layers=2, d_model=20, heads=3, head_size=8, d_ff=36)
VOCABULARY, COUNT, LONGEST = 40, 12, 36
DRAWN = reference.draw(5, layers=2, d_model=20, heads=3, head_size=8, d_ff=36, vocabulary=VOCABULARY)
# A token's own row has less influence on the next token than usual, so that greedy text varies.
SCALES = {"embedding": 0.1, "o": 3.0}
ARRANGED = layout.arrange(
    {name: jnp.asarray(array * SCALES.get(name, 1.0)) for name, array in DRAWN.items()}, MODEL, cached.DECODING
)

PROMPT = np.array([3, 1, 4, 1, 5], np.int32)
NEVER = VOCABULARY
"""An end that no model says."""


@functools.cache
def forward() -> jax.stages.Wrapped:
    def logits(tokens: jax.Array) -> jax.Array:
        states, _ = decoder.Forward(MODEL, tuning.ACCELERATOR).states(ARRANGED, tokens)
        return decoder.logits(ARRANGED.unembedding, states)

    return jax.jit(logits, compiler_options=QUICKLY)


def greedily(prompt: np.ndarray, count: int) -> np.ndarray:
    """Returns greedy tokens by one full forward pass per token, with arbitrary padding, which no token sees."""
    tokens = np.zeros((1, LONGEST), np.int32)
    tokens[0, : len(prompt)] = prompt
    for position in range(len(prompt), len(prompt) + count):
        tokens[0, position] = np.argmax(forward()(tokens)[0, position - 1])
    return tokens[0, len(prompt) : len(prompt) + count]


def continued(prompt: np.ndarray, sampling: Sampling = Sampling(), end: int = NEVER, seed: int = 0) -> np.ndarray:  # noqa: B008
    return generate(ARRANGED, prompt, COUNT, MODEL, (NEVER, end), sampling, seed)


# The last prompt is longer than the windows of 16 tokens of training.
@pytest.mark.parametrize("length", [1, 5, 23])
def test_greedy_tokens_are_the_argmax_of_full_forward_passes(length: int) -> None:
    prompt = np.resize(PROMPT, length)
    expected = greedily(prompt, COUNT)
    assert len(set(expected.tolist())) > 2, "a constant continuation shows little"
    assert np.array_equal(continued(prompt), expected)


def test_generation_stops_before_the_end_token() -> None:
    whole = continued(PROMPT)
    for end in set(whole.tolist()):
        assert np.array_equal(continued(PROMPT, end=end), whole[: whole.tolist().index(end)])


def test_a_count_of_zero_gives_no_tokens() -> None:
    assert len(generate(ARRANGED, PROMPT, 0, MODEL, (), Sampling())) == 0


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(AssertionError):
        continued(PROMPT[:0])


def test_the_seed_determines_samples_but_not_greedy_tokens() -> None:
    hot = Sampling(temperature=1.5)
    drawn = {seed: continued(PROMPT, hot, seed=seed).tolist() for seed in range(4)}
    assert drawn == {seed: continued(PROMPT, hot, seed=seed).tolist() for seed in range(4)}
    assert len(set(map(tuple, drawn.values()))) == 4
    assert np.array_equal(continued(PROMPT, seed=5), continued(PROMPT, seed=6))


def test_a_seed_beyond_32_bits_gives_other_samples() -> None:
    hot = Sampling(temperature=1.5)
    assert not np.array_equal(continued(PROMPT, hot, seed=2**32), continued(PROMPT, hot, seed=0))


def test_positions_beyond_32_bits_are_refused() -> None:
    with pytest.raises(UserError, match=f"^--tokens {2**32}: .* at most {2**31 - 6} can be counted in 32 bits$"):
        generate(ARRANGED, PROMPT, 2**32, MODEL, (), Sampling())


def test_exhausted_memory_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: object, **options: object) -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")

    monkeypatch.setattr(generation, "Engine", exhausted)
    with pytest.raises(UserError, match=r"^--tokens 12: after a prompt of 5 tokens, .* more memory than there is; "):
        continued(PROMPT)


def test_top_k_of_one_is_greedy() -> None:
    assert np.array_equal(continued(PROMPT, Sampling(temperature=1.5, top_k=1), seed=3), continued(PROMPT))
