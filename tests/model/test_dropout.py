"""Dropout's bits depend on key, layer and place alone, and its mean is what it is applied to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model.dropout import Dropout
from palmetto.tokens.dropout_keys import dropout_keys

RATE, LENGTH, WIDTH = 0.1, 64, 32
KEYS = dropout_keys(0, 5, np.arange(8))
X = jnp.ones((8, LENGTH, WIDTH), jnp.float32)


def of(keys: np.ndarray, places: np.ndarray, first: int = 0) -> Dropout:
    return Dropout(jnp.asarray(keys), jnp.asarray(places), RATE, first)


WHOLE = of(KEYS, np.arange(LENGTH))


def test_the_share_is_the_rate_and_the_mean_stays() -> None:
    dropped = np.asarray(WHOLE.embedding(X))
    assert set(np.unique(dropped).tolist()) == {0.0, float(np.float32(1) * np.float32(1 / 0.9))}
    share, deviation = np.mean(dropped == 0), np.sqrt(RATE * (1 - RATE) / X.size)
    assert abs(share - RATE) < 4 * deviation
    assert abs(np.mean(dropped) - 1) < 4 * deviation / (1 - RATE)
    by_feature = np.mean(dropped == 0, axis=(0, 1))
    assert np.abs(by_feature - RATE).max() < 5 * np.sqrt(RATE * (1 - RATE) * WIDTH / X.size)


def test_a_part_of_sequences_or_places_is_dropped_alike() -> None:
    whole = np.asarray(WHOLE.residual(X, 1, 0))
    some, places = [5, 2], np.arange(48, 64)
    part = of(KEYS[some], places).residual(X[: len(some), : len(places)], 1, 0)
    assert np.array_equal(whole[some][:, places], np.asarray(part))
    later = of(KEYS, np.arange(LENGTH), first=1).residual(X, 0, 0)
    assert np.array_equal(whole, np.asarray(later)), "a stage counts layers from its own first"


def test_seed_step_position_layer_and_part_draw_anew() -> None:
    keys = [dropout_keys(seed, step, np.arange(8)) for seed, step in ((0, 5), (1, 5), (0, 6))]
    draws = [np.asarray(of(each, np.arange(LENGTH)).residual(X, 0, 0)) for each in keys]
    draws += [np.asarray(WHOLE.residual(X, layer, part)) for layer, part in ((0, 1), (1, 0))]
    draws += [np.asarray(WHOLE.embedding(X)), draws[0][::-1]]
    for one, draw in enumerate(draws):
        for other in draws[:one]:
            both = np.mean((draw == 0) & (other == 0))
            assert abs(both - RATE**2) < 5 * RATE / np.sqrt(X.size), "as independent draws"
    assert np.array_equal(dropout_keys(0, 5, np.array([7])), KEYS[7:])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradients_reach_what_was_kept(dtype: jax.typing.DTypeLike) -> None:
    x = X.astype(dtype)
    gradient = jax.grad(lambda x: jnp.sum(WHOLE.embedding(x).astype(jnp.float32)))(x)
    assert gradient.dtype == dtype
    assert np.array_equal(np.asarray(gradient == 0), np.asarray(WHOLE.embedding(x) == 0))
