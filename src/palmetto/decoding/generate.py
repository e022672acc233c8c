"""Continuing a prompt."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from palmetto.decoding.cache import Cache, empty, extend
from palmetto.decoding.sampling import Sampling, sample
from palmetto.model.layout import Arranged
from palmetto.recipe import Model


def generate(
    arranged: Arranged, prompt: np.ndarray, count: int, model: Model, end: int, sampling: Sampling, seed: int = 0
) -> np.ndarray:
    """Up to `count` tokens after the prompt [P] of int32, P ≥ 1, ending before the token `end` if it comes.

    Positions may exceed the trained sequence length; rotary positions are defined there, if not trained.
    """
    assert len(prompt) > 0, "there is nothing to continue; begin with [eod]"
    scores, cache = _prefill(arranged, jnp.asarray(prompt[None], jnp.int32), count, model)
    tokens = _continue(arranged, scores, cache, jax.random.key(seed), count, model, sampling)
    chosen = np.asarray(tokens)
    stop = np.flatnonzero(chosen == end)
    return chosen[: stop[0]] if len(stop) else chosen


@partial(jax.jit, static_argnames=("count", "model"))
def _prefill(arranged: Arranged, prompt: jax.Array, count: int, model: Model) -> tuple[jax.Array, Cache]:
    scores, cache = extend(arranged, prompt, empty(model, 1, prompt.shape[1] + count), model)
    return scores[:, -1], cache


@partial(jax.jit, static_argnames=("count", "model", "sampling"))
def _continue(
    arranged: Arranged, scores: jax.Array, cache: Cache, key: jax.Array, count: int, model: Model, sampling: Sampling
) -> jax.Array:
    def one(carry: tuple[jax.Array, Cache], key: jax.Array) -> tuple[tuple[jax.Array, Cache], jax.Array]:
        scores, cache = carry
        token = sample(scores, key, sampling)
        scores, cache = extend(arranged, token[:, None], cache, model)
        return (scores[:, -1], cache), token[0]

    _, tokens = jax.lax.scan(one, (scores, cache), jax.random.split(key, count))
    return tokens
