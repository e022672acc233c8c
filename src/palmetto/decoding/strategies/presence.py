"""Makes tokens that were generated less probable, however often they were."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from palmetto.decoding.strategies.frequency import Frequency, Parameters
from palmetto.decoding.strategies.history import occurrences


class Presence(Frequency):
    """Subtracts `presence_penalty` from the logits of tokens that were generated."""

    name: ClassVar[str] = "presence_penalty"

    def apply(self, logits: jax.Array, parameters: Parameters) -> jax.Array:
        penalties, tokens = parameters
        return jnp.where(occurrences(tokens, logits.shape[1]) > 0, logits - penalties[:, None], logits)
