"""Tests penalties, biases, bans and masks, against NumPy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.decoding.sampling import Sampling
from tests.decoding.strategies.applied import POSITIONS, applied

LOGITS = np.array([1.5, -0.5, 0.0, 2.0, 0.5, -3.0], np.float32)
tokens = st.lists(st.integers(0, 5), max_size=POSITIONS // 2).map(tuple)


@given(prompt=tokens, generated=tokens)
def test_repetition_lowers_tokens_of_prompt_and_text(prompt: tuple[int, ...], generated: tuple[int, ...]) -> None:
    seen = np.isin(np.arange(6), (*prompt, *generated))
    lowered = np.where(LOGITS > 0, LOGITS / np.float32(1.3), LOGITS * np.float32(1.3))
    got = applied(LOGITS, Sampling(repetition_penalty=1.3), prompt=prompt, generated=generated)
    assert np.array_equal(got, np.where(seen, lowered, LOGITS))


@given(prompt=tokens, generated=tokens)
def test_frequency_and_presence_count_generated_tokens(prompt: tuple[int, ...], generated: tuple[int, ...]) -> None:
    counts = np.bincount(generated, minlength=6) if generated else np.zeros(6, int)
    got = applied(LOGITS, Sampling(frequency_penalty=0.3), prompt=prompt, generated=generated)
    np.testing.assert_allclose(got, LOGITS - 0.3 * counts, rtol=0, atol=1e-5)
    got = applied(LOGITS, Sampling(presence_penalty=0.3), prompt=prompt, generated=generated)
    np.testing.assert_allclose(got, LOGITS - 0.3 * (counts > 0), rtol=0, atol=1e-6)


def test_biases_are_added_to_their_tokens() -> None:
    got = applied(LOGITS, Sampling(logit_bias=((2, 1.5), (5, -1.0), (2, 0.25))))
    assert got.tolist() == (LOGITS + np.array([0, 0, 1.75, 0, 0, -1], np.float32)).tolist()
    assert applied(LOGITS, Sampling(logit_bias=((3, -np.inf),)))[3] == -np.inf


def test_banned_tokens_are_left_out() -> None:
    got = applied(LOGITS, Sampling(banned=(3, 0, 5)))
    assert np.flatnonzero(got == -np.inf).tolist() == [0, 3, 5]
    assert np.array_equal(got[[1, 2, 4]], LOGITS[[1, 2, 4]])


def test_forced_tokens_come_first_in_order() -> None:
    for generated, token in (((), 4), ((4,), 1)):
        got = applied(LOGITS, Sampling(forced=(4, 1)), generated=generated)
        assert np.flatnonzero(got != -np.inf).tolist() == [token]
    assert np.array_equal(applied(LOGITS, Sampling(forced=(4, 1)), generated=(4, 1)), LOGITS)


def test_only_allowed_tokens_are_left() -> None:
    allowed = np.array([True, False, True, True, False, False, True, True])  # a mask may be longer than the vocabulary
    got = applied(LOGITS, Sampling(), allowed=allowed)
    assert np.array_equal(got, np.where(allowed[:6], LOGITS, -np.inf))
