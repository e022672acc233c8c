"""Learned positions: a learned vector for each position is added to the embedding."""

from collections.abc import Mapping
from typing import Any, Literal

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import Size


class LearnedPositions(Positions):
    """Adds a learned vector for each position to the embedding."""

    name: Literal["learned"] = "learned"
    length: Size
    """The number of positions with a vector, which is the length of the longest sequence."""

    @property
    def end(self) -> int:
        return self.length

    def of_model(self, model: Sizes) -> Mapping[str, Any]:
        from palmetto.model.weights import Weight

        return {"positions": Weight((self.length, model.d_model), ("positions", "width"), 1.0)}

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        return x + ends["positions"][positions]
