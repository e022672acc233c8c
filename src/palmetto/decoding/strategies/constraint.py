"""Leaves out tokens that a constraint, such as a grammar, does not allow."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.strategy import Context, Sizes, Strategy


class Mask(Strategy):
    """Gives all tokens but some the logit −∞."""

    def left(self, row: Context, size: int) -> npt.NDArray[np.uint8]:
        """Returns which tokens of a vocabulary of `size` are left to a row that uses it, as bits [V / 8]."""
        raise NotImplementedError

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> npt.NDArray[np.uint8]:
        """Returns bits [R, V / 8]."""
        bits = np.full((sizes.rows, -(-sizes.vocabulary // 8)), 255, np.uint8)
        for row, context in rows.items():
            bits[row] = self.left(context, sizes.vocabulary)
        return bits

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        left = jnp.unpackbits(parameters, axis=1, count=logits.shape[1])
        return jnp.where(left > 0, logits, -jnp.inf)


class Constrained(Mask):
    """Leaves the tokens that the constraint allows next."""

    name: ClassVar[str] = "constraint"

    def used(self, row: Context) -> bool:
        return row.allowed is not None

    def left(self, row: Context, size: int) -> npt.NDArray[np.uint8]:
        assert row.allowed is not None
        return np.packbits(row.allowed[:size])
