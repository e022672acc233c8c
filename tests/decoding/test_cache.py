"""The key/value cache: however a text is cut into pieces, its logits are those of the uncached model."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding.cache import Cache, empty, extend
from palmetto.model.layout import arrange
from palmetto.model.tuning import ACCELERATOR
from palmetto.recipe.model import Model
from tests.references import decoder as reference
from tests.references.quickly import QUICKLY

MODEL = Model(layers=2, d_model=20, heads=3, head_size=8, d_ff=36)
VOCABULARY, LENGTH = 40, 12
DRAWN = reference.draw(0, layers=2, d_model=20, heads=3, head_size=8, d_ff=36, vocabulary=VOCABULARY)
TOKENS = np.random.default_rng(1).integers(VOCABULARY, size=(2, LENGTH)).astype(np.int32)


@functools.cache
def extension(activations: str) -> tuple[Model, Callable[[jax.Array, Cache], tuple[jax.Array, Cache]]]:
    model = MODEL.model_copy(update={"activations": activations})
    arranged = arrange({name: jnp.asarray(array) for name, array in DRAWN.items()}, model, ACCELERATOR)
    return model, jax.jit(lambda tokens, cache: extend(arranged, tokens, cache, model), compiler_options=QUICKLY)


def cached(pieces: list[int], room: int = LENGTH, activations: str = "float32") -> tuple[np.ndarray, Cache]:
    """The logits of TOKENS taken in pieces of these lengths."""
    model, run = extension(activations)
    cache, parts, start = empty(model, 2, room), [], 0
    for length in pieces:
        scores, cache = run(jnp.asarray(TOKENS[:, start : start + length]), cache)
        parts.append(np.asarray(scores))
        start += length
        assert cache.length == start
    return np.concatenate(parts, axis=1), cache


@functools.cache
def exact() -> np.ndarray:
    return reference.logits(DRAWN, TOKENS, MODEL.heads)


@pytest.mark.parametrize(("pieces", "room"), [([12], LENGTH), ([1] * 12, 17), ([5, 1, 1, 5], 17)], ids=str)
def test_cached_logits_are_the_uncached_ones_at_every_position_to_float32_rounding(
    pieces: list[int], room: int
) -> None:
    scores, _ = cached(pieces, room)
    assert scores.dtype == np.float32
    assert np.abs(scores - exact()).max() < 2e-6 * np.abs(exact()).max()


def test_bfloat16_activations_agree_to_bfloat16_rounding() -> None:
    scores, cache = cached([5, 1, 1, 5], activations="bfloat16")
    assert (cache.keys.dtype, cache.values.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert np.sqrt(np.mean((scores - exact()) ** 2)) < 2**-6 * reference.rms(exact())


def test_one_head_of_keys_and_values_a_layer_is_kept_and_the_rest_stays_empty() -> None:
    _, cache = cached([5, 1], room=17)
    for array in (cache.keys, cache.values):
        assert array.shape == (MODEL.layers, 2, 1, 17, MODEL.query_size)
        assert np.all(np.any(np.asarray(array[:, :, :, :6]) != 0, axis=-1))
        assert not np.any(array[:, :, :, 6:])


def test_the_parts_of_a_batch_have_caches_of_their_own() -> None:
    model, run = extension("float32")
    exchanged, _ = run(jnp.asarray(TOKENS[::-1]), empty(model, 2, LENGTH))
    assert np.array_equal(exchanged[::-1], cached([12])[0])


def test_no_two_positions_share_their_logits() -> None:
    """That the comparisons above can fail."""
    assert all(np.abs(a - b).max() > 0.1 for a, b in itertools.pairwise(exact()[0]))
