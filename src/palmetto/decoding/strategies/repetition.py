"""Makes tokens that have occurred less probable (CTRL, arXiv 1909.05858)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.history import histories, occurrences
from palmetto.decoding.strategies.strategy import Context, Number, Sizes

Parameters = tuple[jax.Array, jax.Array]
"""The penalties, float32 [R], and the tokens that have occurred, int32 [R, n]."""


class Repetition(Number):
    """Divides positive logits of tokens in prompt or text by `repetition_penalty`, and multiplies negative ones."""

    name: ClassVar[str] = "repetition_penalty"
    long: ClassVar[bool] = True
    unused: ClassVar[float] = 1.0

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> Any:
        return super().parameters(rows, sizes), histories(rows, sizes, generated=False)

    def apply(self, logits: jax.Array, parameters: Parameters) -> jax.Array:
        penalties, tokens = parameters
        lowered = jnp.where(logits > 0, logits / penalties[:, None], logits * penalties[:, None])
        return jnp.where(occurrences(tokens, logits.shape[1]) > 0, lowered, logits)
