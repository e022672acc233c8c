"""Describes the arrays of inference and their places on a mesh of chips, without making any."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from palmetto.decoding.caches.contiguous import ContiguousCache
from palmetto.model.held import hold
from palmetto.model.layout import Arranged, Layer, Stacked, arrange, arranged_table
from palmetto.model.tuning import for_platform
from palmetto.model.weights import weight_table
from palmetto.planning.inference.division import Division
from palmetto.planning.inference.layouts import EVERY, Axes
from palmetto.planning.inference.memory import APART
from palmetto.planning.inference.phases import Phase
from palmetto.recipe import Recipe
from palmetto.recipe.model import Weights

TUNING = for_platform("tpu")


def spec(*axes: Axes) -> PartitionSpec:
    """Returns the spec of an array whose dimensions these axes divide."""
    return PartitionSpec(*(tuple(of) or None for of in axes))


class Arrays:
    """Places a model's arrays on chips."""

    def __init__(self, recipe: Recipe, division: Division, devices: Sequence[Any]) -> None:
        """Takes the devices of the mesh in the order of its axes."""
        self._recipe, self._division = recipe, division
        self._rows = arranged_table(weight_table(recipe.model, recipe.model_vocabulary), APART)
        self.mesh = Mesh(np.array(devices).reshape(tuple(division.sizes.values())), tuple(EVERY))

    def abstract(self, shape: tuple[int, ...], dtype: Any, *axes: Axes) -> jax.ShapeDtypeStruct:
        """Returns an array that these axes divide."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec(*axes)))

    def place(self, array: jax.Array, *axes: Axes) -> jax.Array:
        """Returns an array of a program, divided by these axes."""
        placed: jax.Array = jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, spec(*axes)))
        return placed

    def weights(self, held: Weights) -> Arranged:
        """Returns the weights as decoding holds them, in a type."""
        model = self._recipe.model
        table = weight_table(model, self._recipe.model_vocabulary)
        parameters: Any = {name: jax.ShapeDtypeStruct(of.shape, jnp.float32) for name, of in table.items()}
        arranged = jax.eval_shape(
            lambda parameters: hold(arrange(parameters, model, TUNING, APART), model, held, TUNING, APART), parameters
        )
        assert isinstance(arranged.layers, Stacked)

        def described(array: jax.ShapeDtypeStruct, axes: tuple[Axes, ...]) -> Any:
            return self.abstract(array.shape, array.dtype, *axes)

        ends = {"embedding": arranged.embedding} | ({} if arranged.output is None else {"output": arranged.output})
        ends = self._each(described, ends | arranged.ends)
        layers = Stacked(tuple(self._each(described, kind) for kind in arranged.layers.kinds))
        return Arranged(ends.pop("embedding"), ends.pop("output", None), layers, ends)

    def fetch(self, layer: Layer) -> Layer:
        """Returns a layer's weights gathered along the axes that the layout says."""
        return self._each(lambda array, axes: self.place(array, *axes), layer, self._division.layout.gathered)

    def _each(self, function: Callable[[Any, tuple[Axes, ...]], Any], layer: Layer, gathered: Axes = "") -> Layer:
        """Returns function(array, its axes) for each array.

        A weight in int8 is two arrays, values and scales, which are 1 along its inputs.
        """

        def apply(name: str, array: Any) -> Any:
            axes = self._division.of(self._rows[name], gathered)
            axes = ("",) * (array.ndim - len(axes)) + axes
            return function(array, tuple(of if size > 1 else "" for of, size in zip(axes, array.shape, strict=True)))

        return {name: jax.tree.map(partial(apply, name), held) for name, held in layer.items()}

    def cache(self, phase: Phase) -> ContiguousCache:
        """Returns the cache of all sequences."""
        model, division = self._recipe.model, self._division
        shape = (model.layers, phase.batch, model.key_value_heads, phase.length, model.query_size)
        axes = ("", division.sequences, division.key_value_heads)
        layers: Any = self.abstract(shape, model.activations, *axes)
        return ContiguousCache(layers, layers, self.abstract((), jnp.int32))  # type: ignore[arg-type]
