"""Generates tokens that continue a prompt."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.cached import STREAMED, empty, extend, following, streams
from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.decoding.caches.windowed import WindowedCache
from palmetto.decoding.sampling import Sampling, sample, seeded
from palmetto.errors import UserError
from palmetto.model.layout import Arranged
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model

Held = ContiguousCache | WindowedCache

LOGITS = 1 << 26
"""The largest number of logits that are computed for a prompt, although only the last token's are used. A product with
fewer rows would round differently; the logits of all tokens would take most of the memory for a long prompt."""


def generate(
    arranged: Arranged,
    prompt: npt.NDArray[np.int32],
    count: int,
    model: Model,
    end: int,
    sampling: Sampling,
    seed: int = 0,
    *,
    prefix: int = 0,
    vocabulary_size: int | None = None,
    sharding: Sharding | None = None,
) -> npt.NDArray[np.int32]:
    """Returns up to `count` tokens that continue the int32 prompt [P], P ≥ 1; they stop before the first token `end`.

    prefix: the number of first positions of the prompt that see each other. vocabulary_size: only tokens below it are
    chosen. sharding: the sharding of `arranged`, unless it is on one device.
    Positions may exceed the trained sequence length. Raises UserError if learned positions are too few, or if memory is
    exhausted.
    """
    assert len(prompt) > 0, "there is nothing to continue; begin with [eod]"
    check_room(len(prompt), count, model)
    try:
        cache = empty(model, 1, len(prompt) + count, sharding)
        # A streaming cache holds only its window, so a long prompt passes through it in pieces.
        piece = STREAMED if streams(model) else len(prompt)
        seen = jnp.full(1, prefix, jnp.int32) if prefix else None
        for start in range(0, len(prompt), piece):
            part = jnp.asarray(prompt[None, start : start + piece], jnp.int32)
            scores, cache = _prefill(arranged, part, cache, model, seen)
        tokens, _ = _continue(arranged, scores, cache, seeded(seed), count, model, sampling, vocabulary_size)
        chosen = np.asarray(tokens)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise too_large(len(prompt), count) from None
    stop = np.flatnonzero(chosen == end)
    return chosen[: stop[0]] if len(stop) else chosen


def check_room(prompt: int, count: int, model: Model) -> None:
    """Raises UserError if positions are too few for a prompt of so many tokens and `count` more."""
    if prompt + count >= 2**31:
        most = 2**31 - 1 - prompt
        raise UserError(
            f"--tokens {count}: behind a prompt of {prompt} tokens, at most {most} can be counted in 32 bits"
        )
    if (end_of_positions := model.positions.end) is not None and prompt + count > end_of_positions:
        raise UserError(
            f"--tokens {count}: behind a prompt of {prompt} tokens, model.positions.length={end_of_positions} "
            f"leaves at most {max(0, end_of_positions - prompt)}"
        )


def too_large(prompt: int, count: int) -> UserError:
    """Returns the error of a prompt of so many tokens and `count` more for which memory does not suffice."""
    return UserError(
        f"--tokens {count}: behind a prompt of {prompt} tokens, this takes more memory than there is; fewer tokens or "
        "a shorter prompt would do"
    )


@partial(jax.jit, static_argnames="model", donate_argnames="cache")
def _prefill(
    arranged: Arranged, prompt: jax.Array, cache: Held, model: Model, prefix: jax.Array | None
) -> tuple[jax.Array, Held]:
    last = max(1, LOGITS // (prompt.shape[0] * arranged.unembedding.shape[0]))
    places = following(cache, prompt.shape[1])
    scores, cache = extend(arranged, prompt, places, cache, model, prefix, last if last < prompt.shape[1] else None)
    return scores[:, -1], cache


@partial(jax.jit, static_argnames=("count", "model", "sampling", "vocabulary_size"), donate_argnames="cache")
def _continue(
    arranged: Arranged,
    scores: jax.Array,
    cache: Held,
    key: jax.Array,
    count: int,
    model: Model,
    sampling: Sampling,
    vocabulary_size: int | None,
) -> tuple[jax.Array, Held]:
    def one(carry: tuple[jax.Array, Held], key: jax.Array) -> tuple[tuple[jax.Array, Held], jax.Array]:
        scores, cache = carry
        token = sample(scores[:, :vocabulary_size], key, sampling)
        scores, cache = extend(arranged, token[:, None], following(cache, 1), cache, model)
        return (scores[:, -1], cache), token[0]

    (_, cache), tokens = jax.lax.scan(one, (scores, cache), jax.random.split(key, count))
    return tokens, cache
