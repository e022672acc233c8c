"""The two compiled parts of a step: the model on flat rows of tokens, and the choice of the next token of each row.

The first is one program for each number of rows and of entries of the tables. What rows ask of the second changes its
program, but not the logits, nor what is done to the logits of other rows.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.cached import extend
from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.strategies import STRATEGIES, temperature
from palmetto.model.layout import Arranged, Stacked
from palmetto.model.scores import Learned
from palmetto.model.tuning import Tuning
from palmetto.recipe.model import Model


class Rows(NamedTuple):
    """Holds the tokens of the R rows of a step, int32 [R] each."""

    tokens: jax.Array
    positions: jax.Array
    sequences: jax.Array
    """The row of the tables."""
    prefix: jax.Array
    """The number of first positions of the row's sequence that see each other."""


class Scores(NamedTuple):
    """Holds what the model says about the tokens that follow each row."""

    logits: jax.Array
    """The logits, float32 [R, V]."""
    normalizer: jax.Array
    """The logarithm of the sum of their exponentials, float32 [R]."""


@partial(jax.jit, static_argnames=("model", "tuning"), donate_argnames="cache")
def forward(
    arranged: Arranged,
    learned: tuple[Learned, ...],
    rows: Rows,
    cache: PagedCache,
    model: Model,
    tuning: Tuning,
) -> tuple[Scores, PagedCache]:
    """Returns the scores of the tokens that follow each row, and the cache with the rows' keys and values."""
    places = Places(rows.positions[:, None], rows.sequences)
    tokens = rows.tokens[:, None]
    scores, cache = extend(arranged, tokens, places, cache, model, rows.prefix, learned=learned, tuning=tuning)
    flat = scores[:, 0]
    return Scores(flat, jax.nn.logsumexp(flat, axis=-1)), cache


class Chosen(NamedTuple):
    """Holds the choice of a token for each row, and log-probabilities by the model alone."""

    tokens: jax.Array
    """The tokens, int32 [R]: the wanted ones where any is wanted."""
    logprobs: jax.Array
    """Their log-probabilities, float32 [R]."""
    top: jax.Array
    """The most probable tokens in order, of equals the lower first, int32 [R, n]."""
    top_logprobs: jax.Array
    """Their log-probabilities, float32 [R, n]."""


@partial(jax.jit, static_argnames=("top", "vocabulary_size"))
def choose(
    scores: Scores,
    wanted: jax.Array,
    draw: temperature.Draw | None,
    parameters: dict[str, Any],
    top: int,
    vocabulary_size: int,
) -> Chosen:
    """Returns the tokens that follow each row.

    wanted: the tokens, int32 [R], whose log-probabilities are asked for; -1 to choose one. draw: how to draw from the
    distribution; None if every row takes its most probable token. parameters: those of each strategy that any row uses,
    by name. top: the number of most probable tokens to report. vocabulary_size: only tokens below it are chosen.
    """
    logits = unchanged = scores.logits[:, :vocabulary_size]
    for strategy in STRATEGIES:
        if strategy.name in parameters and not strategy.scaled:
            logits = strategy.apply(logits, parameters[strategy.name])
    tokens = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if draw is not None:
        scaled = temperature.scale(logits, draw)
        for strategy in STRATEGIES:
            if strategy.name in parameters and strategy.scaled:
                scaled = strategy.apply(scaled, parameters[strategy.name])
        tokens = jnp.where(draw.temperature > 0, temperature.drawn(scaled, draw), tokens)
    tokens = jnp.where(wanted >= 0, wanted, tokens)
    logprobs = jnp.take_along_axis(scores.logits, tokens[:, None], axis=-1)[:, 0] - scores.normalizer
    best, ids = jax.lax.top_k(unchanged, min(top, vocabulary_size))
    return Chosen(tokens, logprobs, ids, best - scores.normalizer[:, None])


@partial(jax.jit, donate_argnames="cache")
def copy(cache: PagedCache, source: jax.Array, target: jax.Array) -> PagedCache:
    """Returns the cache with blocks `source` [n] copied to blocks `target` [n]."""
    return cache.copied(source, target)


@partial(jax.jit, static_argnames=("model", "length"))
def learn(arranged: Arranged, model: Model, length: int) -> tuple[Learned, ...]:
    """Returns the arrays from which each layer's scores are computed, for up to `length` positions."""
    assert not isinstance(arranged.layers, Stacked)
    return tuple(model.positions.for_scores(layer, model, length) for layer in arranged.layers)
