"""Describes the sequences of a batch beyond their tokens: prefixes, and examples side by side in one sequence."""

from typing import NamedTuple

import jax

from palmetto.recipe.parts import facing


class Sequences(NamedTuple):
    """Describes B sequences of T tokens beyond their tokens."""

    prefix: jax.Array | None = None
    """The number of first positions that see each other, int32 [B]; None for no prefix."""
    starts: jax.Array | None = None
    """The place of the first token of each token's example, int32 [B, T]; None if a sequence is one example.

    Examples do not see each other, and positions begin anew with each."""

    @property
    def are_whole(self) -> bool:
        """Returns whether each sequence is one example without a prefix."""
        return self.prefix is None and self.starts is None

    def positions(self, places: jax.Array) -> jax.Array:
        """Returns the positions within their examples of places [n] in the sequences: int32 [B, n], or `places`."""
        return places if self.starts is None else places - self.starts[:, places]

    def together(self, queries: jax.Array, keys: jax.Array) -> jax.Array | None:
        """Returns whether places lie in one example: bool [B, 1, rows, 1, columns]; None if there is only one."""
        if self.starts is None:
            return None
        rows, columns = facing(self.starts[:, queries], self.starts[:, keys])
        same: jax.Array = rows == columns
        return same


WHOLE = Sequences()
"""Sequences that are one example each, without a prefix."""
