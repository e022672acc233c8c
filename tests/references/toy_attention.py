"""Defines a kind of attention in one file, as a user would add it: every second position is visible."""

from typing import Literal

from palmetto.recipe.parts import Array, Attention


class ToyAttention(Attention):
    """Lets a position see the positions at even distances from it."""

    name: Literal["toy"] = "toy"

    def sees(self, queries: Array, keys: Array) -> Array:
        return (queries - keys) % 2 == 0
