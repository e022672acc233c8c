"""Tests the types that decoding holds weights in: what becomes of each weight, and how far logits move."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model.decoder import Forward, logits
from palmetto.model.held import hold
from palmetto.model.int8 import Int8, quantize, widened
from palmetto.model.layout import Arranged, arrange, arranged_table, map_named
from palmetto.model.tuning import CPU, Tuning
from palmetto.model.weights import initialize, weight_table
from palmetto.native.library import kernels
from palmetto.recipe.mesh import ONE_DEVICE
from palmetto.recipe.model import Model, Weights
from tests.conftest import slow_but

VOCABULARY = 40
KINDS: dict[str, dict[str, Any]] = {
    "PaLM": {},
    "untied, with biases": {"tied_embedding": False, "biases": True, "block": "serial", "norm_bias": True},
    "learned positions": {"positions": {"name": "learned", "length": 12}},
    "experts": {"experts": {"count": 3, "top": 2, "every": 2, "feedforward": "gelu"}},
    "bfloat16": {"activations": "bfloat16"},
}
LOSS: dict[Weights | None, float] = {None: 0.0, "float32": 0.0, "bfloat16": 0.02, "int8": 0.06}
"""The most that a type of weights may move logits, as a share of the largest."""


def model_of(kind: str) -> Model:
    return Model.model_validate({"layers": 2, "d_model": 32, "heads": 2, **KINDS[kind]})


def arranged_of(kind: str) -> Arranged:
    return arrange(initialize(model_of(kind), VOCABULARY, 0), model_of(kind), CPU)


def logits_of(model: Model, arranged: Arranged, tuning: Tuning) -> jax.Array:
    tokens = jnp.arange(20).reshape(2, 10) * 7 % VOCABULARY

    @jax.jit
    def compute(arranged: Arranged) -> jax.Array:
        states, _ = Forward(model, tuning, rematerialize=None).states(arranged, tokens)
        return logits(arranged.unembedding, states.reshape(-1, states.shape[-1]), tuning.native)

    return compute(arranged)


@pytest.mark.parametrize("kind", slow_but(["PaLM"], KINDS))
@pytest.mark.parametrize("native", [False, True])
def test_logits_with_held_weights_are_near_those_of_float32(kind: str, native: bool) -> None:
    if native and kernels().instruction_set is None:
        pytest.skip(kernels().reason)
    model, arranged, tuning = model_of(kind), arranged_of(kind), CPU._replace(native=native)
    expected = logits_of(model, arranged, tuning)
    for weights, loss in LOSS.items():
        found = logits_of(model, hold(arranged, model, weights, tuning), tuning)
        most = loss + (0.02 if kind == "bfloat16" and weights == "int8" else 0)
        assert np.max(np.abs(found - expected)) <= most * np.max(np.abs(expected)), weights


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_says_which_weights_are_held_in_int8(kind: str) -> None:
    rows = arranged_table(weight_table(model_of(kind), VOCABULARY), ONE_DEVICE)
    arranged = arranged_of(kind)
    held = hold(arranged, model_of(kind), "int8", CPU)

    def check(name: str, before: jax.Array, after: Any) -> jax.Array:
        assert isinstance(after, Int8) == bool(rows[name].channels), name
        assert after.shape == before.shape, name
        return before

    map_named(check, arranged, held)
    cast = [row for row in rows.values() if row.cast]
    assert cast
    assert all(row.channels for row in cast)


@pytest.mark.parametrize("channels", [-1, -2])
def test_a_value_in_int8_is_off_by_half_a_scale_at_most(channels: int) -> None:
    matrix = jax.random.normal(jax.random.key(0), (3, 50, 70)).at[1].set(0)
    found = quantize(matrix, channels)
    assert found.scales.shape == ((3, 1, 70) if channels == -1 else (3, 50, 1))
    assert np.all(np.abs(widened(found) - matrix) <= found.scales * 0.5001)
    assert np.all(np.max(np.abs(found.values[jnp.asarray([0, 2])]), axis=-3 - channels) == 127)
    assert not np.any(widened(found)[1])
