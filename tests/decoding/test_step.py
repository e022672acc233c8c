"""Tests the choice of tokens: frequencies of samples, keys, and log-probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding.sampling import Sampling
from palmetto.decoding.step import Chosen, Scores, Use, choose, most_probable
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.strategies.strategy import Context, Sizes
from palmetto.decoding.strategies.temperature import Draw
from tests.decoding.strategies.applied import applied, kept, softmax

LOGITS = np.array([1.5, -0.5, 0.0, 2.0, 0.5, -3.0], np.float32)
DRAWS = 20_000


def choice(logits: np.ndarray, sampling: Sampling, wanted: int = -1, processed: bool = False, **changes: Any) -> Chosen:
    """Returns what is chosen from logits [R, V] at positions 0, 1, …."""
    count, size = logits.shape
    sizes = Sizes(count, size, 4)
    context = Context(sampling, np.zeros(1, np.int32), 1)
    rows = {s: range(count) if s.used(context) else range(0) for s in STRATEGIES}
    uses = {
        s.name: Use(jnp.full(count, bool(own)), s.parameters(dict.fromkeys(own, context), sizes))
        for s, own in rows.items()
    }
    draw = Draw(
        jnp.full(count, sampling.temperature),
        jnp.zeros((count, 2), jnp.uint32),
        jnp.zeros(count, int),
        jnp.arange(count),
    )._replace(**changes)
    return choose(scores(logits), jnp.full(count, wanted), draw, jnp.full(count, processed), uses, size)


def scores(logits: np.ndarray) -> Scores:
    return Scores(jnp.asarray(logits), jax.nn.logsumexp(jnp.asarray(logits), axis=-1))


def draws(sampling: Sampling) -> np.ndarray:
    return np.bincount(choice(np.tile(LOGITS, (DRAWS, 1)), sampling).tokens, minlength=6)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(0.5),
        Sampling(2.0),
        Sampling(1.0, top_k=3),
        Sampling(2.0, top_p=0.7),
        Sampling(0.7, top_k=4, top_p=0.9),
        Sampling(1.5, min_p=0.2),
    ],
    ids=str,
)
def test_token_frequencies_follow_the_restricted_softmax(sampling: Sampling) -> None:
    logits = (LOGITS / sampling.temperature).astype(np.float32)
    left = sorted(kept(logits, sampling))
    assert (len(left) < 6) == (sampling[1:4] != (None, None, None))
    expected = np.zeros(6)
    expected[left] = softmax(logits[left])
    deviations = np.sqrt(DRAWS * expected * (1 - expected))
    counts = draws(sampling)
    assert np.all(np.abs(counts - DRAWS * expected) <= 5 * deviations)
    assert counts[expected == 0].sum() == 0


def test_temperature_zero_prefers_the_lower_of_equal_tokens() -> None:
    tied = np.array([[0.0, 2.0, 2.0], [3.0, 3.0, 3.0], [-1.0, -2.0, 0.0]], np.float32)
    assert choice(tied, Sampling()).tokens.tolist() == [1, 0, 2]
    assert most_probable(scores(tied), 2, 3).tokens.tolist() == [[1, 2], [0, 1], [2, 0]]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45])
def test_a_temperature_near_zero_is_nearly_greedy(temperature: float) -> None:
    for sampling in (Sampling(temperature), Sampling(temperature, top_p=0.9)):
        assert draws(sampling)[3] == DRAWS


def test_seed_choice_and_position_each_change_the_draws() -> None:
    rows = np.zeros((64, 1000), np.float32)
    plain = choice(rows, Sampling(1.0)).tokens
    assert len(set(plain.tolist())) > 50, "positions differ"
    seeds = [np.tile(np.array(seed, np.uint32), (64, 1)) for seed in ((0, 1), (1, 0))]
    others = [choice(rows, Sampling(1.0), seeds=seed).tokens for seed in seeds]
    others.append(choice(rows, Sampling(1.0), choices=jnp.ones(64, int)).tokens)
    for i, other in enumerate(others):
        assert all(np.mean(other == before) < 0.1 for before in (plain, *others[:i]))
    moved = choice(rows, Sampling(1.0), positions=jnp.arange(64)[::-1]).tokens
    assert np.array_equal(moved[::-1], plain), "a row's place does not tell"


def test_log_probabilities_are_those_of_the_model() -> None:
    rows = np.stack([LOGITS, 10 * LOGITS])
    biased = Sampling(3.0, top_k=1, logit_bias=((5, 100.0),))
    expected = np.log(np.stack([softmax(row) for row in rows]))
    got, top = choice(rows, biased), most_probable(scores(rows), 2, 6)
    assert got.tokens.tolist() == [5, 5]
    np.testing.assert_allclose(got.logprobs, expected[:, 5], rtol=1e-6)
    assert top.tokens.tolist() == [[3, 0]] * 2
    np.testing.assert_allclose(top.logprobs, expected[:, [3, 0]], rtol=1e-6, atol=1e-6)
    wanted = choice(rows, biased, wanted=2)
    assert wanted.tokens.tolist() == [2, 2]
    np.testing.assert_allclose(wanted.logprobs, expected[:, 2], rtol=1e-6)


@pytest.mark.parametrize(
    "sampling", [Sampling(0.0, logit_bias=((5, 4.0),)), Sampling(0.7, top_k=3), Sampling(2.0, banned=(3,))]
)
def test_processed_log_probabilities_are_those_of_the_choice(sampling: Sampling) -> None:
    logits = np.stack([LOGITS, 2 * LOGITS])
    left = np.stack([applied(row, sampling._replace(top_k=None)) for row in logits]).astype(np.float64)
    if sampling.temperature:
        left = left / sampling.temperature
        if sampling.top_k:
            left[left < np.sort(left, axis=1)[:, [-sampling.top_k]]] = -np.inf
    expected = np.log(np.stack([softmax(row) for row in left]), where=left > -np.inf, out=np.full(left.shape, -np.inf))
    got = choice(logits, sampling, processed=True)
    rows = np.arange(2)
    np.testing.assert_allclose(got.logprobs, expected[rows, got.tokens], rtol=1e-5)
    assert got.top is not None
    np.testing.assert_allclose(got.top.logprobs, -np.sort(-expected, axis=1), rtol=1e-5)
    raw = choice(logits, sampling)
    assert np.array_equal(raw.tokens, got.tokens)
    assert not np.array_equal(raw.logprobs, got.logprobs)
