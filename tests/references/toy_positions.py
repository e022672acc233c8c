"""Defines a kind of positions in one file, as a user would add it: it learns, and adds to embedding and scores."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import Positive


class ToyPositions(Positions):
    """Marks each `period`-th token, and adds a learned bias for each head to the scores of marked keys."""

    name: Literal["toy"] = "toy"
    period: Positive = 3

    add_to_scores: ClassVar[bool] = True
    axes_of_heads: ClassVar[Mapping[str, int]] = {"marked": 0}

    def of_layers(self, model: Sizes) -> Mapping[str, Any]:
        from palmetto.model.weights import Weight

        layers = tuple(range(model.layers))
        return {"marked": Weight((len(layers), model.heads), ("layers", "heads"), 1.0, layers)}

    def embed(self, x: Array, ends: Mapping[str, Array], positions: Array) -> Array:
        return x + (positions % self.period == 0)[..., None]

    def for_scores(self, layer: Mapping[str, Array], model: Sizes, length: int) -> dict[str, Array]:
        return {"marked": layer["marked"]}

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        bias = learned["marked"].reshape(q.shape[1], 1, q.shape[3], 1)
        return bias * (keys % self.period == 0)
