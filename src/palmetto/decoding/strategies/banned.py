"""Leaves out tokens that are banned."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.strategy import Context, Strategy


class Banned(Strategy):
    """Gives the tokens of `banned` the logit −∞."""

    name: ClassVar[str] = "banned"

    def used(self, row: Context) -> bool:
        return bool(row.sampling.banned)

    def parameters(self, rows: Mapping[int, Context], count: int, vocabulary_size: int) -> npt.NDArray[np.int32]:
        width = 1 << (max(len(context.sampling.banned) for context in rows.values()) - 1).bit_length()
        tokens = np.full((count, width), vocabulary_size, np.int32)
        for row, context in rows.items():
            tokens[row, : len(context.sampling.banned)] = context.sampling.banned
        return tokens

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        return logits.at[jnp.arange(len(logits))[:, None], parameters].set(-jnp.inf, mode="drop")
