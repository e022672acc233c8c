"""T5's relative positions: a learned bias for each bucket of distances is added to scores (arXiv 1910.10683)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from palmetto.recipe.parts import Array, Positions, Sizes
from palmetto.recipe.section import PositiveInt32, impossible


class T5Positions(Positions):
    """Adds a learned bias to scores for each layer, head and bucket of distances (arXiv 1910.10683)."""

    name: Literal["t5"] = "t5"
    buckets: Annotated[int, Field(ge=2, le=2**16)] = 32
    """The number of buckets; half of them hold one distance each, the others grow logarithmically."""
    max_distance: PositiveInt32 = 128
    """The distance from which on all distances share the last bucket."""
    bidirectional: bool = False
    """True if half of the buckets are for keys ahead of the query, which the prefix of a prefix decoder sees."""

    add_to_scores: ClassVar[bool] = True
    in_a_row: ClassVar[bool] = True
    axes_of_heads: ClassVar[Mapping[str, int]] = {"relative": 1}

    @model_validator(mode="after")
    def _check(self) -> "T5Positions":
        if self.bidirectional and self.buckets < 4:
            expected = "must leave at least two to each direction: 4 would do"
            raise impossible("model.positions.buckets", self.buckets, expected)
        if self.max_distance <= self.buckets // 2:
            expected = f"must exceed half of model.positions.buckets: {self.buckets // 2 + 1} would do"
            raise impossible("model.positions.max_distance", self.max_distance, expected)
        return self

    def check_prefix(self, objective: str) -> None:
        if not self.bidirectional:
            raise impossible(
                "model.positions.bidirectional",
                False,
                f"the objective {objective} has a prefix whose positions see what lies ahead: true would do",
            )

    def of_layers(self, model: Sizes) -> Mapping[str, Any]:
        from palmetto.model.weights import Weight

        shape, layers = (model.layers, self.buckets, model.heads), tuple(range(model.layers))
        deviation = 1 / math.sqrt(model.d_model)
        return {"relative": Weight(shape, ("layers", "buckets", "heads"), deviation, layers)}

    def for_scores(self, layer: Mapping[str, Array], model: Sizes, length: int) -> dict[str, Array]:
        """Returns the biases `relative` [buckets, H]."""
        return {"relative": layer["relative"]}

    def score(
        self, q: Array, queries: Array, keys: Array, learned: Mapping[str, Array], heads: int, farthest: int | None
    ) -> Array:
        import jax
        import jax.numpy as jnp

        from palmetto.model.scores import by_distance

        def table(distances: Array) -> Array:
            one_hot = jax.nn.one_hot(self.bucket(distances), self.buckets, dtype=jnp.float32)
            return (one_hot @ learned["relative"]).T.reshape(q.shape[1], q.shape[3], 1, -1)

        return by_distance(table, queries, keys, farthest)

    def bucket(self, distances: Array) -> Array:
        """Returns the int32 bucket of each distance, query minus key, integers of any shape (section 2.1).

        Half of a direction's buckets hold one distance each, the others grow logarithmically up to max_distance. Keys
        ahead of the query share bucket 0 unless the buckets are bidirectional.
        """
        import jax.numpy as jnp

        held = self.buckets // 2 if self.bidirectional else self.buckets
        exact = held // 2
        size = jnp.abs(distances) if self.bidirectional else jnp.maximum(distances, 0)
        ratio = jnp.log(jnp.maximum(size, exact).astype(jnp.float32) / exact) / math.log(self.max_distance / exact)
        far = exact + (ratio * (held - exact)).astype(jnp.int32)
        bucket = jnp.where(size < exact, size, jnp.minimum(far, held - 1))
        ahead = (distances < 0) & self.bidirectional
        return jnp.where(ahead, bucket + held, bucket).astype(jnp.int32)
