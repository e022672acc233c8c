"""Tests decoding of every kind of decoder: cached logits must agree with those of the whole sequence at once."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.decoding.cached import DECODING, extend
from palmetto.decoding.caches.cache import Places
from palmetto.model import decoder
from palmetto.model.layout import Arranged, arrange
from palmetto.model.sequences import Sequences
from palmetto.model.tuning import ACCELERATOR
from palmetto.model.weights import weight_table
from palmetto.recipe.model import Model
from tests.conftest import slow_but
from tests.references.contiguous import ContiguousCache, empty, following
from tests.references.quickly import QUICKLY

VOCABULARY, LENGTH = 40, 12
TOKENS = np.random.default_rng(1).integers(VOCABULARY, size=(2, LENGTH)).astype(np.int32)
ALIBI, XL = ({"positions": {"name": name}} for name in ("alibi", "transformer_xl"))
T5 = {"positions": {"name": "t5", "buckets": 6, "max_distance": 8}}
LOCAL, STRIDED, SINKS, MEMORY, WINDOWS = (
    {"attention": choice}
    for choice in (
        {"name": "local", "window": 3},
        {"name": "strided", "stride": 3},
        {"name": "sinks", "sinks": 2, "window": 3},
        {"name": "memory", "window": 3, "layer": 1, "neighbours": 2},
        {"name": "parallel_windows", "window": 3, "count": 3},
    )
)

LEARNED = {"positions": {"name": "learned", "length": LENGTH}}
EXPERTS = {"experts": {"count": 3, "top": 2, "every": 2}}

KINDS: dict[str, dict[str, Any]] = {
    "grouped queries": {"key_value_heads": 2},
    "multi-head": {"key_value_heads": 4},
    "t5": T5 | {"key_value_heads": 2},
    "t5, bidirectional": {"positions": {"name": "t5", "buckets": 8, "max_distance": 8, "bidirectional": True}},
    "alibi": ALIBI,
    "transformer-xl": XL | {"key_value_heads": 2},
    "learned": LEARNED,
    "local": LOCAL,
    "local, every other": {"attention": {"name": "local", "window": 3, "every": 2}},
    "strided": STRIDED,
    "sinks": SINKS,
    "sinks, alibi": SINKS | ALIBI,
    "sinks, transformer-xl": SINKS | XL,
    "memory": MEMORY | {"key_value_heads": 2},
    "memory, learned": MEMORY | LEARNED,
    "parallel windows": WINDOWS,
    "parallel windows, alibi": WINDOWS | ALIBI,
    "experts": EXPERTS,
    "experts, gelu": {"experts": {"count": 3, "top": 2, "every": 1, "feedforward": "gelu"}, "feedforward": "geglu"},
    "serial, rms, post": {"block": "serial", "norm": "rms", "norm_position": "post"},
    "deep, biases": {"block": "serial", "norm_position": "deep", "biases": True, "norm_bias": True},
    "sandwich, q and k normed, untied": {
        "norm_position": "sandwich",
        "qk_norm": True,
        "embedding_norm": True,
        "tied_embedding": False,
        "feedforward": "relu",
    },
    "sinusoidal": {"positions": {"name": "sinusoidal"}},
    "rotary, interpolated": {"positions": {"name": "rotary", "scaling": "interpolation", "factor": 2.0}},
    "rotary, truncated": {"positions": {"name": "rotary", "scaling": "truncated", "trained": 8}},
}


def model_of(kind: str) -> Model:
    return Model.model_validate({"layers": 2, "d_model": 16, "heads": 4, "head_size": 6, "d_ff": 20} | KINDS[kind])


@cache
def made(kind: str) -> tuple[Model, Arranged]:
    model = model_of(kind)
    random, parameters = np.random.default_rng(0), {}
    for name, of in weight_table(model, VOCABULARY).items():
        around = 1.0 if of.deviation is None else 0.0
        parameters[name] = jnp.asarray(around + (of.deviation or 0.3) * random.normal(size=of.shape), jnp.float32)
    # Larger weights make the position terms and the choice of keys matter.
    for name in parameters.keys() & {"relative", "q"}:
        parameters[name] = 3 * parameters[name]
    return model, jax.jit(lambda p: arrange(p, model, DECODING), compiler_options=QUICKLY)(parameters)


def whole(kind: str, tokens: np.ndarray, prefix: np.ndarray | None = None) -> np.ndarray:
    model, arranged = made(kind)

    def logits(arranged: Arranged, tokens: jax.Array, prefix: jax.Array | None) -> jax.Array:
        states, _ = decoder.Forward(model, ACCELERATOR).states(arranged, tokens, sequences=Sequences(prefix))
        return decoder.logits(arranged.unembedding, states)

    return np.asarray(jax.jit(logits, compiler_options=QUICKLY)(arranged, tokens, prefix))


def in_pieces(
    kind: str, tokens: np.ndarray, pieces: Sequence[int], prefix: np.ndarray | None = None
) -> tuple[np.ndarray, ContiguousCache]:
    """Returns the logits of tokens processed in pieces of these lengths; the first piece contains the whole prefix."""
    model, arranged = made(kind)
    run = jax.jit(partial(extend, model=model), compiler_options=QUICKLY)
    held, parts, start = empty(model, len(tokens), tokens.shape[1] + 3), [], 0
    for length in pieces:
        piece = jnp.asarray(tokens[:, start : start + length])
        scores, held = run(arranged, piece, following(held, length), held, prefix=prefix)
        parts.append(np.asarray(scores))
        start, prefix = start + length, None
    assert held.length.tolist() == [start, start] == [tokens.shape[1]] * 2
    return np.concatenate(parts, axis=1), held


QUICK = (
    *("grouped queries", "t5", "alibi", "learned", "local", "strided", "sinks", "memory", "parallel windows"),
    "experts",
)


@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
def test_decoding_token_by_token_agrees_with_the_whole_sequence(kind: str) -> None:
    expected = whole(kind, TOKENS)
    scores, held = in_pieces(kind, TOKENS, [1] * LENGTH)
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()
    shape = (2, made(kind)[0].key_value_heads, LENGTH + 3, 6)
    assert [array.shape for array in (*held.keys, *held.values)] == [shape] * 4


@pytest.mark.parametrize("kind", slow_but(["local"], ["local", "t5, bidirectional", "transformer-xl", "experts"]))
def test_decoding_after_a_prefix_agrees_with_the_whole_sequence(kind: str) -> None:
    prefix = np.array([5, 3], np.int32)
    expected = whole(kind, TOKENS, prefix)
    scores, _ = in_pieces(kind, TOKENS, (5, 1, 1, 5), prefix)
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(whole(kind, TOKENS) - expected).max() > 0.1, "the prefix must tell"


@pytest.mark.parametrize("kind", slow_but(["strided"], ["strided", "memory", "parallel windows, alibi"]))
def test_a_prompt_in_pieces_agrees_with_the_whole_sequence(kind: str) -> None:
    expected = whole(kind, TOKENS)
    scores, _ = in_pieces(kind, TOKENS, (6, 6))
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kind", slow_but(["grouped queries", "parallel windows"], KINDS))
def test_flat_rows_of_mixed_sequences_agree_with_whole_sequences(kind: str) -> None:
    """Each call has five tokens of one sequence and one of the other, in any order."""
    model, arranged = made(kind)
    run = jax.jit(partial(extend, model=model), compiler_options=QUICKLY)
    held, scores = empty(model, 2, LENGTH + 3), np.empty((2, LENGTH, VOCABULARY), np.float32)
    reached = [0, 0]
    for ahead in (0, 1, 0, 1):
        count = [1, 1]
        count[ahead] = 5
        flat = [(row, reached[row] + i) for row in range(2) for i in range(count[row])]
        row, position = np.random.default_rng(ahead).permutation(flat).T
        logits, held = run(arranged, TOKENS[row, position][:, None], Places(position[:, None], row), held)
        scores[row, position] = logits[:, 0]
        reached = [before + more for before, more in zip(reached, count, strict=True)]
    expected = whole(kind, TOKENS)
    assert held.length.tolist() == reached == [LENGTH, LENGTH]
    assert np.abs(scores - expected).max() < 1e-5 * np.abs(expected).max()
