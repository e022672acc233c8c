"""A kind of attention in one file, as somebody would add it: every second position."""

from typing import Literal

from palmetto.recipe.parts import Array, Attention


class ToyAttention(Attention):
    """A position sees those at even distances from it."""

    name: Literal["toy"] = "toy"

    def sees(self, queries: Array, keys: Array) -> Array:
        return (queries - keys) % 2 == 0
