"""Tests which tokens top-k, top-p, min-p and typical sampling keep, against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.decoding.sampling import Sampling
from tests.decoding.strategies.applied import kept, softmax

LOGITS = np.array([1.5, -0.5, 0.0, 2.0, 0.5, -3.0], np.float32)

distinct = st.lists(st.integers(-40, 40), min_size=6, max_size=6, unique=True).map(
    lambda values: np.array(values, np.float32) / 4
)
with_ties = st.lists(st.integers(-3, 3), min_size=6, max_size=6).map(lambda values: np.array(values, np.float32))


@given(logits=distinct | with_ties, k=st.integers(1, 9))
def test_top_k_prefers_the_lower_of_equal_tokens(logits: np.ndarray, k: int) -> None:
    assert kept(logits, Sampling(1.0, top_k=k)) == set(np.argsort(-logits, kind="stable")[:k].tolist())


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    assert kept(LOGITS, Sampling(1.0, top_k=2**40)) == set(range(6))


def reaching(order: np.ndarray, probabilities: np.ndarray, p: float) -> set[int]:
    """Returns the smallest set of first tokens whose total probability is at least p."""
    reached = np.cumsum(probabilities[order])
    return set(order[: 1 + int(np.sum(reached < p))].tolist())


def nucleus(logits: np.ndarray, p: float) -> set[int]:
    return reaching(np.argsort(-logits, kind="stable"), softmax(logits), p)


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


@given(logits=distinct | with_ties, share=st.floats(0.01, 1.0))
def test_min_p_keeps_shares_of_the_largest_probability(logits: np.ndarray, share: float) -> None:
    probabilities = softmax(logits)
    margin = probabilities / (share * probabilities.max())
    if np.all(np.abs(margin - 1) > 1e-5):
        assert kept(logits, Sampling(1.0, min_p=share)) == set(np.flatnonzero(margin > 1).tolist())


@given(logits=distinct, p=st.floats(0.01, 0.99))
def test_typical_sampling_begins_nearest_to_the_entropy(logits: np.ndarray, p: float) -> None:
    probabilities = softmax(logits)
    untypical = np.abs(-np.log(probabilities) + np.sum(probabilities * np.log(probabilities)))
    order = np.argsort(untypical, kind="stable")
    sets = [reaching(order, probabilities, p + shift) for shift in (-1e-5, 1e-5)]
    if sets[0] == sets[1] and np.all(np.diff(untypical[order]) > 1e-4):
        assert kept(logits, Sampling(1.0, typical_p=p)) == sets[0]


def test_typical_sampling_may_leave_out_the_most_probable_token() -> None:
    logits = np.log(np.array([0.4, *[0.06] * 10], np.float32))
    assert 0 not in kept(logits, Sampling(1.0, typical_p=0.5))


@pytest.mark.parametrize("sampling", [Sampling(1.0, top_p=1.0), Sampling(1.0, min_p=0.0), Sampling(1.0, typical_p=1.0)])
def test_settings_without_effect_keep_all_tokens(sampling: Sampling) -> None:
    assert kept(LOGITS, sampling) == set(range(6))
