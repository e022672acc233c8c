"""Begins with tokens that are forced."""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from palmetto.decoding.strategies.strategy import Context, Sizes, Strategy


class Forced(Strategy):
    """Leaves out all tokens but the next one of `forced`, until all of them were generated."""

    name: ClassVar[str] = "forced"

    def used(self, row: Context) -> bool:
        return bool(row.sampling.forced)

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> npt.NDArray[np.int32]:
        tokens = np.full(sizes.rows, -1, np.int32)
        for row, (sampling, known, prompt, _) in rows.items():
            if len(known) - prompt < len(sampling.forced):
                tokens[row] = sampling.forced[len(known) - prompt]
        return tokens

    def apply(self, logits: jax.Array, parameters: jax.Array) -> jax.Array:
        token = parameters[:, None]
        left_out = (token >= 0) & (jnp.arange(logits.shape[1]) != token)
        return jnp.where(left_out, -jnp.inf, logits)
