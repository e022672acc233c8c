"""Maps the logical axes of weights and caches to the axes of the mesh, and so decides which device holds what.

The training step is written for one device of the axes pod, data, stage, expert and sequence (manual `jax.shard_map`).
Along the axis model XLA divides the work automatically, following the sharding of the parameters.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from palmetto.model.adapters import without_adapters
from palmetto.model.layout import arranged_table
from palmetto.model.parameters import parameter_table
from palmetto.model.weights import LOGICAL_AXES, mesh_axis
from palmetto.parallel.collectives import Group
from palmetto.parallel.placement import place
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import AXES

MANUAL = frozenset(AXES) - {"model"}
"""The axes along which the step is written for one device."""

Tree = TypeVar("Tree")

ALONE = Group("data", 1, True)

Axes = tuple[str | None, ...]
"""The mesh axis that divides each dimension of an array; None for a dimension that is not divided."""


class Spread(NamedTuple):
    """Describes how the logical matrices of one array are divided over devices, for sums over their elements."""

    stack: int
    """The number of leading axes that count logical matrices."""
    along: int = 0
    """The axis of a logical matrix whose fixed chunks are the leaves of a sum's tree."""
    group: Group = ALONE
    """The devices over which that axis is divided."""
    stacked: tuple[Group, ...] = ()
    """The devices over which each leading axis is divided; empty if none is."""
    parts: tuple[int, ...] = ()
    """The number of parts into which XLA divides each axis of a logical matrix; empty if it divides none."""


class Sharding:
    """Holds the mesh of a recipe and the sharding of parameters, moments and caches on it."""

    def __init__(self, recipe: Recipe, devices: Sequence[jax.Device] | None = None) -> None:
        """Uses the first of `devices`, by default JAX's devices."""
        self.sizes, self.zero, self.devices = recipe.mesh.sizes, recipe.mesh.zero, recipe.mesh.devices
        self.table = parameter_table(recipe)
        self.arranged = arranged_table(without_adapters(self.table), recipe.mesh)
        """The rows of the arranged arrays."""
        self._divided_by = {logical: mesh_axis(logical, recipe.model, recipe.mesh) for logical in LOGICAL_AXES}
        self._elastic = recipe.training.reproducible == "elastic"
        self._devices = devices

    @cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The JAX mesh, with devices in the order of `placement.place`."""
        devices = self._devices if self._devices is not None else jax.devices()
        assert len(devices) >= self.devices, "fewer devices than the mesh has"
        return jax.sharding.Mesh(place(devices, self.sizes, self._elastic), AXES)

    def group(self, axis: str) -> Group:
        """Returns the devices along an axis; those along data and pod sum in the tree if the run is elastic."""
        return Group(axis, self.sizes[axis], self._elastic and axis in ("pod", "data"))

    @property
    def at_rest(self) -> dict[str, Axes]:
        """The mesh axes that divide each parameter between steps."""
        return {name: self.axes(of.axes, self.zero == 3) for name, of in self.table.items()}

    @property
    def updated(self) -> dict[str, Axes]:
        """The mesh axes that divide each parameter's moments, and each parameter during its update."""
        return {name: self.moment(of.axes) for name, of in self.table.items()}

    def moment(self, logical_axes: Sequence[str]) -> Axes:
        """Returns the mesh axes that divide an array of the optimizer with these logical axes."""
        return self.axes(logical_axes, self.zero >= 1)

    @property
    def cache(self) -> Axes:
        """The mesh axes that divide a layer's cached keys and values [B, K, S, Q] in decoding."""
        return self.axes(("batch", "key_value_heads", "positions", "head"))

    def axes(self, logical_axes: Sequence[str], over_data: bool = True) -> Axes:
        """Returns the mesh axis that divides each logical axis; data is left out unless `over_data`."""
        axes = (self._divided_by[logical] for logical in logical_axes)
        return tuple(None if axis == "data" and not over_data else axis for axis in axes)

    def arranged_axes(self, name: str, array: jax.Array) -> Axes:
        """Returns the mesh axis that divides each dimension of an arranged array, with or without a layer axis."""
        axes = self.axes(self.arranged[name].axes)
        return (None,) * (array.ndim - len(axes)) + axes

    @property
    def spreads(self) -> dict[str, Spread]:
        """The division of each parameter's logical matrices over devices during the update."""
        spreads = {}
        for name, axes in self.updated.items():
            of = self.table[name]
            along = of.stack if of.data_dimension is None else of.data_dimension % len(of.axes)
            group = self.group("data") if axes[along] == "data" else ALONE
            stacked = tuple(self.group(axis) if axis else ALONE for axis in axes[: of.stack])
            parts = tuple(self.sizes["model"] if axis == "model" else 1 for axis in axes[of.stack :])
            spreads[name] = Spread(of.stack, along - of.stack, group, stacked, parts)
        return spreads

    def on_mesh(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """Returns a function of arrays on the whole mesh, from one that is written for one device."""
        if self.devices == 1:
            return function
        mapped: Callable[..., Any] = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            # If XLA has nothing to divide, every axis is manual, as the accelerators' kernels require.
            axis_names=set(AXES if self.sizes["model"] == 1 else MANUAL),
            check_vma=False,
        )
        return mapped

    def everywhere(self, arrays: Tree) -> Tree:
        """Returns host arrays, which must be equal in every process, copied to every device."""
        if self.devices == 1:
            return jax.device_put(arrays, self.place())
        put = lambda array: jax.make_array_from_callback(array.shape, self.place(), lambda index: array[index])  # noqa: E731
        copies: Tree = jax.tree.map(put, jax.tree.map(np.asarray, arrays))
        return copies

    def place(self, axes: Axes = ()) -> NamedSharding:
        """Returns the sharding of an array that these mesh axes divide; by default it is replicated."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def apart(function: Callable[[jax.Array], jax.Array], array: jax.Array, axes: Axes) -> jax.Array:
    """Applies a function to each device's part along the axis model, if model divides the array.

    Without it XLA would gather such an array before a collective along another axis. The result is divided likewise.
    """
    if "model" not in axes:
        return function(array)
    spec = PartitionSpec(*("model" if axis == "model" else None for axis in axes))
    result: jax.Array = jax.shard_map(function, in_specs=spec, out_specs=spec, axis_names={"model"}, check_vma=False)(
        array
    )
    return result


def manual(axes: Axes) -> PartitionSpec:
    """Returns the spec of an array for `jax.shard_map`, without the axis model, which XLA handles."""
    return PartitionSpec(*(axis if axis in MANUAL else None for axis in axes))
