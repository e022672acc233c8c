"""Learned positions: a vector for each, added to the embedding."""

from collections.abc import Mapping
from typing import Any, Literal

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import Size


class LearnedPositions(Positions):
    """A learned vector for each position, added to the embedding."""

    name: Literal["learned"] = "learned"
    length: Size
    """Positions there are vectors for: no sequence can be longer."""

    @property
    def end(self) -> int:
        return self.length

    def of_model(self, model: Sizes) -> Mapping[str, Any]:
        from palmetto.model.weights import Weight

        return {"positions": Weight((self.length, model.d_model), ("positions", "width"), 1.0)}

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        return x + ends["positions"][positions]
