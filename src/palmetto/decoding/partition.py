"""Says how the devices of a mesh divide a step of decoding, where XLA would not find it from its arguments' places."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from palmetto.model.decoder import LayerAttention
from palmetto.model.layout import Fetch
from palmetto.model.sums import identity


class Partition(NamedTuple):
    """Places the arrays of a step on devices."""

    place: Callable[[jax.Array], jax.Array] = identity
    """Places the input of each layer, [B, T, D]."""
    around: Callable[[LayerAttention], LayerAttention] = lambda attend: attend
    """Places what each layer's attention takes and returns."""
    end: Callable[[jax.Array], jax.Array] = identity
    """Places the final states, [B, T, D]."""
    fetch: Fetch | None = None
    """Gathers a layer's arrays before they are used."""


UNDIVIDED = Partition()
"""The partition of a step on one device, or of one that is left to XLA."""
