"""Leaves out tokens that a constraint, such as a grammar, does not allow."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.strategy import Context, Strategy


class Constrained(Strategy):
    """Gives tokens that are not allowed next the logit −∞."""

    name: ClassVar[str] = "constraint"

    def used(self, row: Context) -> bool:
        return row.allowed is not None

    def parameters(self, rows: Mapping[int, Context], count: int, vocabulary_size: int) -> npt.NDArray[np.uint8]:
        """Returns bits [count, V / 8]."""
        allowed = np.ones((count, vocabulary_size), np.bool_)
        for row, context in rows.items():
            assert context.allowed is not None
            allowed[row] = context.allowed[:vocabulary_size]
        return np.packbits(allowed, axis=1)

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        allowed = jnp.unpackbits(parameters, axis=1, count=logits.shape[1])
        return jnp.where(allowed > 0, logits, -jnp.inf)
