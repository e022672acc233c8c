"""Tests sampling: the sets of tokens that top-k and top-p keep, and the frequencies of sampled tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palmetto.decoding.sampling import SEEDS, Sampling, restrict, sample, seeded
from palmetto.errors import UserError

LOGITS = np.array([1.5, -0.5, 0.0, 2.0, 0.5, -3.0], np.float32)
DRAWS = 20_000


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def kept(logits: np.ndarray, sampling: Sampling) -> set[int]:
    restricted = np.asarray(restrict(jnp.asarray(logits)[None], sampling))[0]
    indices = np.flatnonzero(restricted != -np.inf)
    assert np.array_equal(restricted[indices], logits[indices]), "a logit that is kept is not changed"
    return set(indices.tolist())


distinct = st.lists(st.integers(-40, 40), min_size=6, max_size=6, unique=True).map(
    lambda values: np.array(values, np.float32) / 4
)
with_ties = st.lists(st.integers(-3, 3), min_size=6, max_size=6).map(lambda values: np.array(values, np.float32))


@given(logits=distinct | with_ties, k=st.integers(1, 9))
def test_top_k_prefers_the_lower_of_equal_tokens(logits: np.ndarray, k: int) -> None:
    assert kept(logits, Sampling(1.0, top_k=k)) == set(np.argsort(-logits, kind="stable")[:k].tolist())


def nucleus(logits: np.ndarray, p: float) -> set[int]:
    """Returns the smallest set of most probable tokens whose total probability is at least p."""
    order = np.argsort(-logits, kind="stable")
    reached = np.cumsum(softmax(logits)[order])
    return set(order[: 1 + int(np.sum(reached < p))].tolist())


@given(logits=distinct | with_ties, p=st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_sufficient_set(logits: np.ndarray, p: float) -> None:
    if nucleus(logits, p - 1e-5) == nucleus(logits, p + 1e-5):  # otherwise rounding in float32 decides
        assert kept(logits, Sampling(1.0, top_p=p)) == nucleus(logits, p)


@given(logits=distinct, k=st.integers(1, 6), p=st.floats(0.01, 0.99))
def test_top_p_uses_the_probabilities_after_top_k(logits: np.ndarray, k: int, p: float) -> None:
    left = kept(logits, Sampling(1.0, top_k=k))
    among = np.where([i in left for i in range(6)], logits, -np.inf)
    if nucleus(among, p - 1e-5) == nucleus(among, p + 1e-5):
        assert kept(logits, Sampling(1.0, top_k=k, top_p=p)) == nucleus(among, p)


def test_a_tiny_top_p_keeps_only_the_most_probable_token() -> None:
    assert kept(LOGITS, Sampling(1.0, top_p=1e-9)) == {3}
    assert kept(LOGITS, Sampling(1.0)) == set(range(6))


def test_top_p_stops_when_it_is_reached_exactly() -> None:
    equal = np.zeros(4, np.float32)
    assert [kept(equal, Sampling(1.0, top_p=p)) for p in (0.25, 0.5, 0.75)] == [{0}, {0, 1}, {0, 1, 2}]


def test_top_p_of_one_keeps_all_tokens_despite_rounding() -> None:
    logits = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    assert len(kept(logits, Sampling(1.0, top_p=1.0))) == 5000


def draws(sampling: Sampling, seed: int = 0) -> np.ndarray:
    rows = jnp.broadcast_to(jnp.asarray(LOGITS), (DRAWS, 6))
    tokens = sample(rows, jax.random.key(seed), sampling)
    assert tokens.shape == (DRAWS,)
    assert tokens.dtype == jnp.int32
    return np.bincount(tokens, minlength=6)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0),
        Sampling(0.5),
        Sampling(2.0),
        Sampling(1.0, top_k=3),
        Sampling(2.0, top_p=0.7),
        Sampling(0.7, top_k=4, top_p=0.9),
    ],
    ids=str,
)
def test_token_frequencies_follow_the_restricted_softmax(sampling: Sampling) -> None:
    logits = (LOGITS / sampling.temperature).astype(np.float32)
    left = sorted(kept(logits, sampling))
    assert (len(left) < 6) == (sampling.top_k is not None or sampling.top_p is not None)
    expected = np.zeros(6)
    expected[left] = softmax(logits[left])
    deviations = np.sqrt(DRAWS * expected * (1 - expected))
    counts = draws(sampling)
    assert np.all(np.abs(counts - DRAWS * expected) <= 5 * deviations)
    assert counts[expected == 0].sum() == 0


def test_temperature_zero_prefers_the_lower_of_equal_tokens() -> None:
    tied = jnp.asarray([[0.0, 2.0, 2.0], [3.0, 3.0, 3.0], [-1.0, -2.0, 0.0]])
    assert sample(tied, jax.random.key(0), Sampling()).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1e-3),
        Sampling(1e-30, top_p=0.9),
        Sampling(1e-45),
        Sampling(1e-40, top_p=0.9),
    ],
    ids=str,
)
def test_a_temperature_near_zero_is_nearly_greedy(sampling: Sampling) -> None:
    assert draws(sampling)[3] == DRAWS


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(temperature=-0.1), r"--temperature -0.1: expected 0 \(greedy\) or more"),
        (Sampling(temperature=float("inf")), "--temperature inf: expected"),
        (Sampling(temperature=float("nan")), "--temperature nan: expected"),
        (Sampling(1.0, top_k=0), "--top-k 0: expected at least 1"),
        (Sampling(1.0, top_p=0.0), "--top-p 0.0: expected more than 0 and at most 1"),
        (Sampling(1.0, top_p=1.1), "--top-p 1.1: expected more than 0 and at most 1"),
        (Sampling(1.0, top_p=float("nan")), "--top-p nan: expected"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_by_name(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sampling.check()


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert kept(LOGITS, Sampling(1.0, top_k=2**40)) == set(range(6))


@given(seed=st.integers(0, 2**32 - 1))
def test_seeds_of_32_bits_have_the_keys_of_jax(seed: int) -> None:
    assert np.array_equal(jax.random.key_data(seeded(seed)), jax.random.key_data(jax.random.key(seed)))


@given(seeds=st.lists(st.integers(0, SEEDS - 1), min_size=2, max_size=2, unique=True))
@example(seeds=[0, 2**32])
@example(seeds=[2**32 - 1, SEEDS - 1])
def test_different_seeds_have_different_keys(seeds: list[int]) -> None:
    a, b = (jax.random.key_data(seeded(seed)) for seed in seeds)
    assert not np.array_equal(a, b)


def test_options_in_range_are_accepted() -> None:
    for sampling in (Sampling(), Sampling(0.8, 40, 0.9), Sampling(1.0, 1, 1.0)):
        assert sampling.check() is sampling
