"""Applies strategies to logits, beside a row that uses none of them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.sampling import Sampling
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.strategies.strategy import Context, Sizes

POSITIONS = 64
"""The most tokens of a request, its prompt included."""


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Returns probabilities in float64."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())


def applied(
    logits: npt.NDArray[np.float32],
    sampling: Sampling,
    *,
    prompt: tuple[int, ...] = (0,),
    generated: tuple[int, ...] = (),
    allowed: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Returns logits [V] as the strategies that a request uses change them; the other row keeps its bits."""
    context = Context(sampling, np.array([*prompt, *generated], np.int32), len(prompt), allowed)
    rows = jnp.asarray(np.stack([logits, logits]))
    for strategy in STRATEGIES:
        if strategy.used(context):
            rows = strategy.apply(
                rows, jnp_tree(strategy.parameters({1: context}, Sizes(2, logits.shape[0], POSITIONS)))
            )
    other, changed = np.asarray(rows)
    assert other.tobytes() == logits.tobytes(), "a row that does not use a strategy keeps its bits"
    return changed


def jnp_tree(parameters: Any) -> Any:
    """Returns parameters as arrays of the device."""
    return tuple(map(jnp.asarray, parameters)) if isinstance(parameters, tuple) else jnp.asarray(parameters)


def kept(logits: npt.NDArray[np.float32], sampling: Sampling) -> set[int]:
    """Returns the tokens that strategies leave, whose logits they do not change."""
    restricted = applied(logits, sampling)
    indices = np.flatnonzero(restricted != -np.inf)
    assert np.array_equal(restricted[indices], logits[indices]), "a logit that is kept is not changed"
    return set(indices.tolist())
