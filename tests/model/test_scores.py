"""Compares scores of consecutive positions, as in training, with scores of arbitrary positions, as in caches."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.model.scores import make_scores
from palmetto.model.sequences import Sequences
from palmetto.recipe.model import Model
from tests.conftest import slow_but

T5, XL = {"name": "t5", "buckets": 6, "max_distance": 8}, {"name": "transformer_xl"}
SINKS, WINDOWS = {"name": "sinks", "sinks": 2, "window": 3}, {"name": "parallel_windows", "window": 2, "count": 2}
KINDS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "rotary, sinks": {"attention": SINKS},
    "alibi": {"positions": {"name": "alibi"}},
    "alibi, parallel windows": {"positions": {"name": "alibi"}, "attention": WINDOWS},
    "t5": {"positions": T5},
    "t5, sinks": {"positions": T5, "attention": SINKS},
    "transformer-xl": {"positions": XL},
    "transformer-xl, sinks": {"positions": XL, "attention": SINKS},
}
LENGTH = 8


@pytest.mark.parametrize("prefix", [None, (3, 0)], ids=["causal", "prefix"])
@pytest.mark.parametrize("kind", slow_but(["t5", "transformer-xl, sinks"], KINDS))
def test_scores_depend_on_positions_and_not_on_the_order(kind: str, prefix: tuple[int, ...] | None) -> None:
    """The keys of each sequence are permuted, and its queries have gaps between their positions."""
    model = Model.model_validate({"layers": 1, "d_model": 8, "heads": 4, "key_value_heads": 2} | KINDS[kind])
    random = np.random.default_rng(0)
    q, k = random.normal(size=(2, 2, LENGTH, 2, 2)), random.normal(size=(2, 2, LENGTH, 2))
    shapes = {"relative": (6, 4), "u": (4, 2), "w": (4, 2), "r": (8, 8)}
    layer = {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    given = None if prefix is None else jnp.asarray(prefix)
    scores = make_scores(layer, model, model.attention_of(0), LENGTH, Sequences(given))

    def of(q: Any, k: Any, queries: Any, keys: Any) -> np.ndarray:
        arrays = (jnp.asarray(q, jnp.float32), jnp.asarray(k, jnp.float32), jnp.asarray(queries), jnp.asarray(keys))
        return np.asarray(scores.function(scores.learned, scores.sequences, *arrays))

    whole = of(q, k, np.arange(LENGTH), np.arange(LENGTH))
    orders = np.stack([random.permutation(LENGTH) for _ in range(2)])
    queries = np.array([[1, 4, 7], [0, 2, 3]])
    some = of(
        np.stack([q[row][:, queries[row]] for row in range(2)]),
        np.stack([k[row][:, orders[row]] for row in range(2)]),
        queries,
        orders,
    )
    for row in range(2):
        expected = whole[row][:, queries[row]][..., orders[row]]
        np.testing.assert_allclose(some[row], expected, rtol=1e-5, atol=1e-5)
