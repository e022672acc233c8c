"""Tests that logits with a key/value cache are those without it, for any division of a text into pieces."""

import functools
import itertools
from collections.abc import Callable
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.decoding.cached import DECODING, extend
from palmetto.decoding.caches.cache import Places
from palmetto.model.layout import arrange
from palmetto.recipe.model import Model
from tests.references import decoder as reference
from tests.references.contiguous import ContiguousCache, empty, following
from tests.references.quickly import QUICKLY

MODEL = Model(layers=2, d_model=20, heads=3, head_size=8, d_ff=36)
VOCABULARY, LENGTH = 40, 12
DRAWN = reference.draw(0, layers=2, d_model=20, heads=3, head_size=8, d_ff=36, vocabulary=VOCABULARY)
TOKENS = np.random.default_rng(1).integers(VOCABULARY, size=(2, LENGTH)).astype(np.int32)

Held = ContiguousCache
Run = Callable[..., tuple[jax.Array, Held]]


@functools.cache
def extension(activations: str) -> tuple[Model, Run]:
    model = MODEL.model_copy(update={"activations": activations})
    arranged = arrange({name: jnp.asarray(array) for name, array in DRAWN.items()}, model, DECODING)

    def run(tokens: jax.Array, cache: Held, places: Places | None = None) -> tuple[jax.Array, Held]:
        return extend(arranged, tokens, places or following(cache, tokens.shape[1]), cache, model)

    return model, jax.jit(run, compiler_options=QUICKLY)


def cached(pieces: list[int], room: int = LENGTH, activations: str = "float32") -> tuple[np.ndarray, ContiguousCache]:
    """Returns the logits of TOKENS, processed in pieces of these lengths."""
    model, run = extension(activations)
    cache, parts, start = empty(model, 2, room), [], 0
    for length in pieces:
        scores, cache = run(jnp.asarray(TOKENS[:, start : start + length]), cache)
        parts.append(np.asarray(scores))
        start += length
        assert cache.length.tolist() == [start, start]
    return np.concatenate(parts, axis=1), cache


@functools.cache
def exact() -> np.ndarray:
    return reference.logits(DRAWN, TOKENS, MODEL.heads)


@pytest.mark.parametrize(("pieces", "room"), [([12], LENGTH), ([1] * 12, 17), ([5, 1, 1, 5], 17)], ids=str)
def test_cached_logits_agree_with_uncached_logits(pieces: list[int], room: int) -> None:
    scores, _ = cached(pieces, room)
    assert scores.dtype == np.float32
    assert np.abs(scores - exact()).max() < 2e-6 * np.abs(exact()).max()


def test_bfloat16_activations_agree_to_bfloat16_rounding() -> None:
    scores, cache = cached([5, 1, 1, 5], activations="bfloat16")
    assert {array.dtype for array in (*cache.keys, *cache.values)} == {jnp.dtype(jnp.bfloat16)}
    assert np.sqrt(np.mean((scores - exact()) ** 2)) < 2**-6 * reference.rms(exact())


def test_only_the_slots_of_processed_tokens_are_filled() -> None:
    _, cache = cached([5, 1], room=17)
    assert len(cache.keys) == len(cache.values) == MODEL.layers
    for array in (*cache.keys, *cache.values):
        assert array.shape == (2, 1, 17, MODEL.query_size)
        assert np.all(np.any(np.asarray(array[:, :, :6]) != 0, axis=-1))
        assert not np.any(array[:, :, 6:])


def test_sequences_of_a_batch_have_separate_caches() -> None:
    _, run = extension("float32")
    exchanged, _ = run(jnp.asarray(TOKENS[::-1]), ContiguousCache.empty(2, (2, 1, LENGTH, 8), "float32"))
    assert np.array_equal(exchanged[::-1], cached([12])[0])


def test_sequences_of_different_lengths_are_extended_together() -> None:
    _, run = extension("float32")
    fresh = ContiguousCache.empty(2, (1, 1, LENGTH, 8), "float32")
    lengths = (3, 7)
    caches = [run(jnp.asarray(TOKENS[row : row + 1, :length]), fresh)[1] for row, length in enumerate(lengths)]
    both = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *caches)
    next_tokens = np.stack([TOKENS[row, length : length + 2] for row, length in enumerate(lengths)])
    scores, both = run(jnp.asarray(next_tokens), both)
    assert both.length.tolist() == [5, 9]
    for row, length in enumerate(lengths):
        expected = exact()[row, length : length + 2]
        assert np.abs(scores[row] - expected).max() < 2e-6 * np.abs(exact()).max()


@settings(max_examples=20)
@given(random=st.randoms(use_true_random=False))
def test_flat_rows_of_any_sequences_agree_with_whole_sequences(random: Random) -> None:
    """Pieces of prompts and single tokens stand side by side in calls of four tokens, in any order."""
    _, run = extension("float32")
    cache, reached = Held.empty(2, (2, 1, LENGTH, 8), "float32"), [0, 0]
    for left in range(2 * LENGTH, 0, -4):
        first = random.randint(max(0, 4 - LENGTH + reached[1]), min(4, LENGTH - reached[0]))
        flat = [(row, reached[row] + i) for row, count in enumerate((first, 4 - first)) for i in range(count)]
        sequences, positions = np.array(random.sample(flat, 4)).T
        scores, cache = run(TOKENS[sequences, positions][:, None], cache, Places(positions[:, None], sequences))
        assert np.abs(scores[:, 0] - exact()[sequences, positions]).max() < 2e-6 * np.abs(exact()).max()
        reached = [reached[0] + first, reached[1] + 4 - first]
        assert cache.length.tolist() == reached
        assert sum(reached) == 2 * LENGTH - left + 4


def test_logits_differ_between_positions() -> None:
    """Otherwise the comparisons above could not fail."""
    assert all(np.abs(a - b).max() > 0.1 for a, b in itertools.pairwise(exact()[0]))
