"""Makes tokens less probable the more often they were generated."""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.history import histories, occurrences
from palmetto.decoding.strategies.strategy import Context, Number, Sizes

Parameters = tuple[jax.Array, jax.Array]
"""The penalties, float32 [R], and the tokens that have occurred, int32 [R, n]."""


class Frequency(Number):
    """Subtracts `frequency_penalty` from a token's logit for each time that it was generated."""

    name: ClassVar[str] = "frequency_penalty"
    long: ClassVar[bool] = True
    unused: ClassVar[float] = 0.0

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> Any:
        return super().parameters(rows, sizes), histories(rows, sizes, generated=True)

    def apply(self, logits: jax.Array, parameters: Parameters) -> jax.Array:
        penalties, tokens = parameters
        counts = occurrences(tokens, logits.shape[1])
        return jnp.where(counts > 0, logits - penalties[:, None] * counts, logits)
