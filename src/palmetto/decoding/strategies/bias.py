"""Adds numbers to the logits of some tokens."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.sampling import MOST_BIASES
from palmetto.decoding.strategies.strategy import HUGE, Context, Sizes, Strategy


class Bias(Strategy):
    """Adds the numbers of `logit_bias` to logits; those of a token that is named twice are added up."""

    name: ClassVar[str] = "logit_bias"
    long: ClassVar[bool] = True

    def used(self, row: Context) -> bool:
        return bool(row.sampling.logit_bias)

    def parameters(
        self, rows: Mapping[int, Context], sizes: Sizes
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        shape = sizes.rows, MOST_BIASES
        tokens, numbers = np.full(shape, sizes.vocabulary, np.int32), np.zeros(shape, np.float32)
        for row, context in rows.items():
            pairs = context.sampling.logit_bias
            tokens[row, : len(pairs)] = [token for token, _ in pairs]
            numbers[row, : len(pairs)] = [min(number, HUGE) for _, number in pairs]
        return tokens, numbers

    def apply(self, logits: jax.Array, parameters: tuple[jax.Array, jax.Array]) -> jax.Array:
        tokens, numbers = parameters
        return logits.at[jnp.arange(len(logits))[:, None], tokens].add(numbers, mode="drop")
