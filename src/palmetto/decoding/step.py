"""The compiled parts of a step: the model on flat rows of tokens, and the choice of the next token of each row.

The first is one program for each number of rows and of entries of the tables, which also chooses for rows that use no
strategy. The second has a program with all strategies, of which each row takes what it asks for, and a smaller one for
steps that ask for little: nothing that a request may ask for needs a program of its own. It may choose for one row
after the other, so that its bits do not depend on their number, as those of the first do not with kernels of `native`.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from palmetto.decoding.cached import Needed, extend
from palmetto.decoding.caches.cache import Places
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.request import TOP
from palmetto.decoding.strategies import STRATEGIES, temperature
from palmetto.decoding.strategies.strategy import Strategy
from palmetto.model.layout import Arranged, Stacked
from palmetto.model.scores import Learned
from palmetto.model.tuning import Tuning
from palmetto.native.pointwise import largest, log_sum
from palmetto.recipe.model import Model


class Rows(NamedTuple):
    """Holds the tokens of the R rows of a step, int32 [R] each."""

    tokens: jax.Array
    positions: jax.Array
    sequences: jax.Array
    """The row of the tables; the last for rows without a token."""
    prefix: jax.Array
    """The number of first positions of the row's sequence that see each other."""
    scored: jax.Array
    """Says whether what follows the row is asked for, bool; logits of other rows may be anything."""


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
    needed = Needed(rows.sequences < len(cache.tables) - 1, rows.scored) if tuning.native else None
    scores, cache = extend(
        arranged, tokens, places, cache, model, rows.prefix, learned=learned, tuning=tuning, needed=needed
    )
    flat = scores[:, 0]
    return Scores(flat, log_sum(flat) if tuning.native else jax.nn.logsumexp(flat, axis=-1)), cache


class Top(NamedTuple):
    """Holds the most probable tokens of each row in order, of equals the lower first."""

    tokens: jax.Array
    """The tokens, int32 [R, n]."""
    logprobs: jax.Array
    """Their log-probabilities, float32 [R, n]."""


class Chosen(NamedTuple):
    """Holds the choice of a token for each row."""

    tokens: jax.Array
    """The tokens, int32 [R]: the wanted ones where any is wanted."""
    logprobs: jax.Array
    """Their log-probabilities, float32 [R]: by the model alone, or as they were chosen, in rows that report that."""
    top: Top | None
    """The most probable tokens as they were chosen, [R, TOP], 0 for rows that do not report them; None if none can."""


class Use(NamedTuple):
    """Holds what a step asks of a strategy."""

    rows: jax.Array
    """The mask of the rows that use it, bool [R]."""
    parameters: Any
    """Its arrays."""


@partial(jax.jit, static_argnames=("vocabulary_size", "one_by_one"))
def choose(
    scores: Scores,
    wanted: jax.Array,
    draw: temperature.Draw,
    processed: jax.Array,
    uses: dict[str, Use],
    vocabulary_size: int,
    one_by_one: bool = False,
) -> Chosen:
    """Returns the tokens that follow each row.

    wanted: the tokens, int32 [R], whose log-probabilities are asked for; -1 to choose one. draw: how each row draws.
    processed: the rows, bool [R], that report the probabilities by which they choose; none may without strategies.
    uses: the strategies that rows may use, by name. vocabulary_size: only tokens below it are chosen.
    one_by_one: compute each row by itself with kernels of `native`, since sums of strategies are rounded otherwise for
    other numbers of rows.
    """
    logits = scores.logits[:, :vocabulary_size]
    if not uses:
        (tokens,), own, top = _chosen(one_by_one, logits, draw, {}, None), None, None
    elif one_by_one:
        alone = jax.tree.map(lambda array: array[:, None], (logits, draw, uses, processed))
        each = jax.lax.map(lambda row: _chosen(True, *row), alone)
        tokens, own, top = jax.tree.map(lambda array: array[:, 0], each)
    else:
        tokens, own, top = _chosen(False, logits, draw, uses, processed)
    chosen = jnp.where(wanted >= 0, wanted, tokens)
    logprobs = jnp.take_along_axis(scores.logits, chosen[:, None], axis=-1)[:, 0] - scores.normalizer
    if own is not None:
        logprobs = jnp.where(processed & (wanted < 0), own, logprobs)
    return Chosen(chosen, logprobs, top)


@functools.cache
def program(model: Model, tuning: Tuning, vocabulary_size: int, one_by_one: bool) -> Callable[..., Any]:
    """Returns the program of `forward_and_choose`, with the arguments that are no arrays.

    JAX would hash them at every call, which takes as long as what a step of one row does beside its program.
    """
    fixed = partial(
        forward_and_choose, model=model, tuning=tuning, vocabulary_size=vocabulary_size, one_by_one=one_by_one
    )
    return jax.jit(fixed, donate_argnames="cache")


def forward_and_choose(
    arranged: Arranged,
    learned: tuple[Learned, ...],
    rows: Rows,
    cache: PagedCache,
    wanted: jax.Array,
    draw: temperature.Draw,
    model: Model,
    tuning: Tuning,
    vocabulary_size: int,
    one_by_one: bool,
) -> tuple[Scores, Chosen, PagedCache]:
    """Returns what `forward` and `choose` without strategies return: one call of a program takes less time than two."""
    scores, cache = forward(arranged, learned, rows, cache, model, tuning)
    scores = jax.lax.optimization_barrier(scores)
    return scores, choose(scores, wanted, draw, jnp.zeros(wanted.shape, bool), {}, vocabulary_size, one_by_one), cache


def _chosen(
    native: bool, logits: jax.Array, draw: temperature.Draw, uses: dict[str, Use], processed: jax.Array | None
) -> tuple[Any, ...]:
    """Returns the chosen tokens, int32 [R], for logits [R, V], and with `processed` what is reported of these rows.

    What no row asks for is not computed. native: find the largest logits by the kernel of `native`.
    """

    def apply(strategy: Strategy, logits: jax.Array) -> jax.Array:
        rows, parameters = uses[strategy.name]
        return jax.lax.cond(jnp.any(rows), strategy.apply, lambda same, _: same, logits, parameters)

    for strategy in STRATEGIES:
        if strategy.name in uses and not strategy.scaled:
            logits = apply(strategy, logits)
    greedy = largest(logits) if native else jnp.argmax(logits, axis=-1).astype(jnp.int32)

    def reported(tokens: jax.Array, left: jax.Array) -> tuple[Any, ...]:
        if processed is None:
            return (tokens,)
        return tokens, *jax.lax.cond(jnp.any(processed), _report, _report_nothing, tokens, left)

    def drawn() -> tuple[Any, ...]:
        scaled = temperature.scale(logits, draw)
        for strategy in STRATEGIES:
            if strategy.name in uses and strategy.scaled:
                scaled = apply(strategy, scaled)
        draws = draw.temperature > 0
        tokens = jnp.where(draws, temperature.drawn(scaled, draw), greedy)
        return reported(tokens, jnp.where(draws[:, None], scaled, logits))

    chosen: tuple[Any, ...] = jax.lax.cond(jnp.any(draw.temperature > 0), drawn, lambda: reported(greedy, logits))
    return chosen


def _report(tokens: jax.Array, left: jax.Array) -> tuple[jax.Array, Top]:
    """Returns the log-probabilities of tokens [R] and the most probable ones, by the logits [R, V] that are left."""
    normalizer = jax.nn.logsumexp(left, axis=-1, keepdims=True)
    own = jnp.take_along_axis(left, tokens[:, None], axis=-1) - normalizer
    best, ids = jax.lax.top_k(left, min(TOP, left.shape[1]))
    return own[:, 0], Top(ids, best - normalizer)


def _report_nothing(tokens: jax.Array, left: jax.Array) -> tuple[jax.Array, Top]:
    """Returns what has the shapes of a report."""
    zeros = jnp.zeros((len(tokens), min(TOP, left.shape[1])), jnp.float32)
    return zeros[:, 0], Top(zeros.astype(jnp.int32), zeros)


@partial(jax.jit, static_argnames=("count", "vocabulary_size"))
def most_probable(scores: Scores, count: int, vocabulary_size: int) -> Top:
    """Returns the `count` most probable tokens below `vocabulary_size` of each row, or all if they are fewer."""
    best, tokens = jax.lax.top_k(scores.logits[:, :vocabulary_size], min(count, vocabulary_size))
    return Top(tokens, best - scores.normalizer[:, None])


@partial(jax.jit, donate_argnames="cache")
def copy(cache: PagedCache, source: jax.Array, target: jax.Array) -> PagedCache:
    """Returns the cache with blocks `source` [n] copied to blocks `target` [n]."""
    return cache.copied(source, target)


@partial(jax.jit, static_argnames=("model", "length"))
def learn(arranged: Arranged, model: Model, length: int) -> tuple[Learned, ...]:
    """Returns the arrays from which each layer's scores are computed, for up to `length` positions."""
    assert not isinstance(arranged.layers, Stacked)
    return tuple(model.positions.for_scores(layer, model, length) for layer in arranged.layers)
