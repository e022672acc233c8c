"""Dropout, whose bits depend on a sequence's key, the layer and the place alone.

So neither a resumed run, nor a layout, nor the number of devices changes them. A key is a function of seed, step and
the sequence's position in the order of the run (tokens/dropout_keys.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from palmetto.model.sums import rounded


class Dropout(NamedTuple):
    """Describes the dropout of sequences, in which each element is set to zero with probability `rate`."""

    keys: jax.Array
    """The key of each sequence, uint32 [B, 2]."""
    places: jax.Array
    """The places [T] that this device holds of each sequence."""
    rate: float
    first: jax.Array | int = 0
    """The number of the first layer that this device computes."""

    def embedding(self, x: jax.Array) -> jax.Array:
        """Returns the embeddings [B, T, D] with dropout."""
        return self._drop(x, 0)

    def residual(self, y: jax.Array, layer: jax.Array | int, part: int) -> jax.Array:
        """Returns with dropout what part 0 or 1 of a layer, counted from `first`, adds to its input, [B, T, D]."""
        return self._drop(y, 1 + 2 * (self.first + layer) + part)

    def _drop(self, x: jax.Array, number: jax.Array | int) -> jax.Array:
        """Returns x with elements set to zero, and the others divided by 1 − rate (arXiv 1207.0580)."""

        def of_sequence(key: jax.Array) -> jax.Array:
            of_array = jax.random.fold_in(jax.random.wrap_key_data(key), number)
            of_place = jax.vmap(jax.random.fold_in, (None, 0))(of_array, self.places)
            return jax.vmap(lambda key: jax.random.bits(key, x.shape[-1:], jnp.uint32))(of_place)

        dropped = jax.vmap(of_sequence)(self.keys) < jnp.uint32(round(self.rate * 2**32))
        kept = rounded(x * jnp.asarray(1 / (1 - self.rate), x.dtype))
        return jnp.where(dropped, jnp.zeros((), x.dtype), kept)
