"""Says which device holds what: from the logical axes of the table of weights to the axes of the mesh.

The training step is written for one device of the axes pod, data, stage, expert and sequence (`jax.shard_map`, manual).
Along the axis model XLA divides the work by itself, led by where the parameters lie.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from palmetto.model.layout import arranged_table
from palmetto.model.weights import LOGICAL_AXES, mesh_axis, weight_table
from palmetto.parallel.collectives import Group
from palmetto.parallel.placement import place
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import AXES

MANUAL = frozenset(AXES) - {"model"}
"""The axes along which the step is written for one device."""

Tree = TypeVar("Tree")

ALONE = Group("data", 1, True)

Axes = tuple[str | None, ...]
"""The mesh axis that each dimension of an array is divided over."""


class Spread(NamedTuple):
    """How the logical matrices of one array lie on devices, for sums over a whole matrix or over all of them."""

    stack: int
    """The number of leading axes that count logical matrices."""
    along: int = 0
    """The axis of a logical matrix whose fixed chunks are the leaves of a sum's tree."""
    group: Group = ALONE
    """The devices among which that axis is divided."""
    stacked: tuple[Group, ...] = ()
    """The devices among which each leading axis is divided; empty where none is."""
    parts: tuple[int, ...] = ()
    """In how many parts XLA keeps each axis of a logical matrix; empty where in one."""


class Sharding:
    """The mesh of a recipe and where everything lies on it."""

    def __init__(self, recipe: Recipe, devices: Sequence[jax.Device] | None = None) -> None:
        """Takes the first of `devices`, by default JAX's."""
        self.sizes, self.zero, self.devices = recipe.mesh.sizes, recipe.mesh.zero, recipe.mesh.devices
        self.table = weight_table(recipe.model, recipe.model_vocabulary)
        self.arranged = arranged_table(self.table, recipe.mesh)
        """The rows of the arrays that a step computes with."""
        self._divided_by = {logical: mesh_axis(logical, recipe.model, recipe.mesh) for logical in LOGICAL_AXES}
        self._elastic = recipe.training.reproducible == "elastic"
        self._devices = devices

    @cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices by axis, in the order of `placement.place`."""
        devices = self._devices if self._devices is not None else jax.devices()
        assert len(devices) >= self.devices, "fewer devices than the mesh has"
        return jax.sharding.Mesh(place(devices, self.sizes, self._elastic), AXES)

    def group(self, axis: str) -> Group:
        """Returns the devices along an axis. Those along data and pod sum in the tree if the run is elastic."""
        return Group(axis, self.sizes[axis], self._elastic and axis in ("pod", "data"))

    @property
    def at_rest(self) -> dict[str, Axes]:
        """The mesh axes that divide each parameter between steps."""
        return {name: self.axes(of.axes, self.zero == 3) for name, of in self.table.items()}

    @property
    def updated(self) -> dict[str, Axes]:
        """The mesh axes that divide each parameter's moments, and the parameter while it is updated."""
        return {name: self.moment(of.axes) for name, of in self.table.items()}

    def moment(self, logical_axes: Sequence[str]) -> Axes:
        """Returns the mesh axes that divide an array of the optimizer with these logical axes."""
        return self.axes(logical_axes, self.zero >= 1)

    @property
    def cache(self) -> Axes:
        """The mesh axes that divide the cached keys and values [L, B, K, S, Q] of decoding."""
        return self.axes(("layers", "batch", "key_value_heads", "positions", "head"))

    def axes(self, logical_axes: Sequence[str], over_data: bool = True) -> Axes:
        """Returns what divides each logical axis; those along data only if `over_data`."""
        axes = (self._divided_by[logical] for logical in logical_axes)
        return tuple(None if axis == "data" and not over_data else axis for axis in axes)

    def arranged_axes(self, name: str, array: jax.Array) -> Axes:
        """Returns what divides each dimension of an arranged array, which may have one more in front, of layers."""
        axes = self.axes(self.arranged[name].axes)
        return (None,) * (array.ndim - len(axes)) + axes

    @property
    def spreads(self) -> dict[str, Spread]:
        """How the logical matrices of each parameter lie on devices while it is updated."""
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
        """Maps a function, written for one device, over arrays of the whole mesh."""
        if self.devices == 1:
            return function
        mapped: Callable[..., Any] = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=in_specs,
            out_specs=out_specs,
            # Where XLA has nothing to divide nothing is left to it: accelerators' kernels ask for that.
            axis_names=set(AXES if self.sizes["model"] == 1 else MANUAL),
            check_vma=False,
        )
        return mapped

    def everywhere(self, arrays: Tree) -> Tree:
        """Copies arrays of the host, which are the same in every process, to every device."""
        if self.devices == 1:
            return jax.device_put(arrays, self.place())
        put = lambda array: jax.make_array_from_callback(array.shape, self.place(), lambda index: array[index])  # noqa: E731
        copies: Tree = jax.tree.map(put, jax.tree.map(np.asarray, arrays))
        return copies

    def place(self, axes: Axes = ()) -> NamedSharding:
        """Returns the sharding of an array that these mesh axes divide; without any it is a copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def apart(function: Callable[[jax.Array], jax.Array], array: jax.Array, axes: Axes) -> jax.Array:
    """Applies a function to the part that a device holds along the axis model too, if that divides the array.

    XLA would make such an array whole before a collective along another axis. The result is divided likewise.
    """
    if "model" not in axes:
        return function(array)
    spec = PartitionSpec(*("model" if axis == "model" else None for axis in axes))
    result: jax.Array = jax.shard_map(function, in_specs=spec, out_specs=spec, axis_names={"model"}, check_vma=False)(
        array
    )
    return result


def manual(axes: Axes) -> PartitionSpec:
    """Returns the mesh axes of an array as `jax.shard_map` takes them, the axis model being left to XLA."""
    return PartitionSpec(*(axis if axis in MANUAL else None for axis in axes))
