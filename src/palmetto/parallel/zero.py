"""How weights and gradients that devices share meet (ZeRO, arXiv 1910.02054), for one device inside `jax.shard_map`.

Zero says what lies divided over the axis data: 0 nothing, 1 what the optimizer keeps, 2 also gradients, 3 also the
weights. Whichever it is, a leaf's gradient is summed over the devices before the next leaf is added, so that the
gradient's tree is the same.
"""

from functools import partial

import jax
import jax.numpy as jnp

from palmetto.model.layout import Arranged, Fetch, Layer, map_named, spread_dimension
from palmetto.model.weights import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Axes, Sharding, apart
from palmetto.recipe.model import Model


class Zero:
    """The roads between what a device holds, computes with and updates."""

    def __init__(self, sharding: Sharding, model: Model, *, whole_leaves: bool = False) -> None:
        """`whole_leaves`: each leaf is computed without the other devices along data, also at level 3: with weights
        that are gathered once a step, to gradients that are summed when the leaf is done."""
        self.level, self.data, self.whole_leaves = sharding.zero, sharding.group("data"), whole_leaves
        self._level_within = min(self.level, 2) if whole_leaves else self.level
        """Of what is divided while a step computes."""
        self._sharding, self._updated, self._model = sharding, sharding.updated, model
        self._sharers = sharding.sizes["model"]
        """Of a layer: the devices along model."""

    def owned(self, parameters: Parameters) -> Parameters:
        """From parameters as they lie between steps to the parts that this device updates."""
        if self.level in (0, 3):
            return parameters
        return self._along_data(collectives.own_part, parameters)

    def at_rest(self, parameters: Parameters) -> Parameters:
        """The inverse of `owned`."""
        if self.level in (0, 3):
            return parameters
        return self._along_data(collectives.gather, parameters)

    def _along_data(self, function: collectives.Along, parameters: Parameters) -> Parameters:
        def apply(axes: Axes, array: jax.Array) -> jax.Array:
            if "data" not in axes:
                return array
            return apart(lambda array: function(array, axes.index("data"), self.data), array, axes)

        return {name: apply(self._updated[name], array) for name, array in parameters.items()}

    def _axes(self, name: str, array: jax.Array) -> Axes:
        """Along which of an arranged array's dimensions XLA keeps it divided: the last, if any."""
        shared = name == "router" or (name in ("k", "v") and self._model.key_value_heads % self._sharers)
        divided = self._sharers > 1 and spread_dimension(name) == -2 and not shared
        return (None,) * (array.ndim - 1) + ("model" if divided else None,)

    def whole(self, arranged: Arranged) -> Arranged:
        """What the leaves compute with: all of the weights or, where they are fetched a layer at a time, the parts."""
        return self._along_spread(collectives.gather, arranged) if self._level_within in (1, 2) else arranged

    @property
    def fetching(self) -> Fetch | None:
        """`fetch`, where it has anything to do."""
        return self.fetch if self._gathers or self._sharers > 1 else None

    @property
    def _gathers(self) -> bool:
        return self._level_within == 3 and self.data.size > 1

    def fetch(self, arrays: Layer) -> Layer:
        """Weights as they are computed with. At level 3 they are made whole, and their derivative is the sum over the
        devices, each its part. Along the axis model they stay apart, at every level in the same form.
        """

        def whole(name: str, array: jax.Array) -> jax.Array:
            dimension, travels_as = spread_dimension(name), self._travels_as(name)
            if dimension is None:
                return collectives.shared(array, self.data) if self._gathers else array
            meet = partial(
                collectives.gathered,
                dimension=array.ndim + dimension,
                group=self.data if self._gathers else self.data._replace(size=1),
                travels_as=travels_as,
            )
            return apart(meet, array, self._axes(name, array))

        return {name: whole(name, array) for name, array in arrays.items()}

    def fetch_from(self, stage: jax.Array) -> Fetch:
        """`fetch` of arrays that the devices at one place along the axis stage hold."""
        along = self._sharding.group("stage")

        def theirs(name: str, array: jax.Array) -> jax.Array:
            array = jnp.where(jax.lax.axis_index(along.axis) == stage, array, 0)
            return apart(lambda array: jax.lax.psum(array, along.axis), array, self._axes(name, array))

        def fetch(arrays: Layer) -> Layer:
            arrays = {name: theirs(name, array) for name, array in arrays.items()}
            return self.fetching(arrays) if self.fetching else arrays

        return fetch

    def _travels_as(self, name: str) -> str:
        """The activation type for what is cast to it before anything else."""
        summed = bool(self._model.positions.of_model(self._model)) or self._model.embedding_norm
        exact = "norm" in name or "bias" in name or name in ("router", "r", "positions")
        return "float32" if exact or (name == "embedding" and summed) else self._model.activations

    def reduce(self, gradients: Arranged) -> Arranged:
        """The sum of a leaf's gradients over the devices: at level 2 this device's part, at levels 0 and 1 all of it.

        At level 3 it is the part too; but where leaves are not whole, `fetch` has seen to it.
        """
        if self._level_within == 3:
            return gradients
        if self._level_within == 2:
            return self._along_spread(collectives.reduce_scatter, gradients, collectives.all_reduce)
        return jax.tree.map(lambda array: collectives.all_reduce(array, self.data), gradients)

    def own_gradients(self, gradients: Arranged) -> Arranged:
        """Of the summed gradients those of the parts that this device updates."""
        return self._along_spread(collectives.own_part, gradients) if self.level == 1 else gradients

    def _along_spread(
        self, function: collectives.Along, arranged: Arranged, else_: collectives.Among | None = None
    ) -> Arranged:
        def apply(name: str, array: jax.Array) -> jax.Array:
            dimension = spread_dimension(name)
            if dimension is None:
                return else_(array, self.data) if else_ else array
            place = array.ndim + dimension
            return apart(lambda array: function(array, place, self.data), array, self._axes(name, array))

        return map_named(apply, arranged)

    def across(self, gradients: Arranged) -> Arranged:
        """The sum over what divides sequences or experts, once all leaves are in.

        Each device along the axis expert has gradients of its own experts from every leaf.
        """
        expert, sequence = (self._sharding.group(axis) for axis in ("expert", "sequence"))

        def apply(name: str, array: jax.Array) -> jax.Array:
            if not name.startswith("expert_"):
                array = collectives.all_reduce(array, expert)
            return collectives.all_reduce(array, sequence)

        return map_named(apply, gradients)
