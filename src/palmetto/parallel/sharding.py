"""Which device holds what: one table from the logical axes of parameters to the axes of the mesh.

The training step is written for one device of the axes pod, data, stage, expert and sequence (`jax.shard_map`, manual);
along the axis model XLA divides the work by itself, led by where the parameters lie.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from palmetto.model.layout import Layout
from palmetto.model.weights import specifications
from palmetto.parallel.collectives import Group
from palmetto.parallel.placement import place
from palmetto.recipe import Recipe
from palmetto.recipe.mesh import AXES

LOGICAL_AXES: Mapping[str, str | None] = {
    "batch": "data",
    "layers": "stage",
    "experts": "expert",
    "width": "data",
    "vocabulary": "data",
    "features": "model",
    "heads": "model",
    "key_value_heads": "model",
    "feedforward": "model",
    "head": None,
    "gates": None,
    "buckets": None,
    "positions": None,
}
"""What each logical axis of a parameter or a cache is divided over. The embedding's width is called features, so that
it may lie across the axis model while its vocabulary lies across data."""

MANUAL = frozenset(AXES) - {"model"}
"""The axes that the step is written for one device of."""

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
        """On the first of `devices`, by default JAX's."""
        self.sizes, self.zero, self.devices = recipe.mesh.sizes, recipe.mesh.zero, recipe.mesh.devices
        self.table = specifications(recipe.model, recipe.model_vocabulary)
        # Where more devices share the key/value heads than there are, as in multi-query attention, each holds them all.
        self._whole = {"key_value_heads"} if recipe.model.key_value_heads % self.sizes["model"] else set[str]()
        self._elastic = recipe.training.reproducible == "elastic"
        self._devices = devices

    @cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """The devices by axis, as `place` has them."""
        devices = self._devices if self._devices is not None else jax.devices()
        assert len(devices) >= self.devices, "fewer devices than the mesh has"
        return jax.sharding.Mesh(place(devices, self.sizes, self._elastic), AXES)

    def group(self, axis: str) -> Group:
        """The devices along an axis. Those of data and pods sum in the tree, if the run is elastic."""
        return Group(axis, self.sizes[axis], self._elastic and axis in ("pod", "data"))

    def layout(self, layout: Layout) -> Layout:
        """A platform's layout for computing on this mesh."""
        return layout._replace(sequence=self.sizes["sequence"], experts=self.sizes["expert"], model=self.sizes["model"])

    @property
    def at_rest(self) -> dict[str, Axes]:
        """How each parameter lies between steps."""
        return {name: self._axes(of.axes, self.zero == 3) for name, of in self.table.items()}

    @property
    def updated(self) -> dict[str, Axes]:
        """How each parameter's moments lie, and the parameter while it is updated."""
        return {name: self._axes(of.axes, self.zero >= 1) for name, of in self.table.items()}

    @property
    def cache(self) -> Axes:
        """How a layer's keys and values [B, K, S, Q] of positions seen so far lie (decoding/caches)."""
        return self._axes(("batch", "key_value_heads", "positions", "head"), True)

    def _axes(self, logical_axes: Sequence[str], over_data: bool) -> Axes:
        divided = {axis for axis, size in self.sizes.items() if size > 1} - (set() if over_data else {"data"})
        axes = (None if logical in self._whole else LOGICAL_AXES[logical] for logical in logical_axes)
        return tuple(axis if axis in divided else None for axis in axes)

    @property
    def spreads(self) -> dict[str, Spread]:
        """How each parameter's logical matrices lie while it is updated."""
        spreads = {}
        for name, axes in self.updated.items():
            of = self.table[name]
            along = next((d for d, logical in enumerate(of.axes) if LOGICAL_AXES[logical] == "data"), of.stack)
            group = self.group("data") if axes[along] == "data" else ALONE
            stacked = tuple(self.group(axis) if axis else ALONE for axis in axes[: of.stack])
            parts = tuple(self.sizes["model"] if axis == "model" else 1 for axis in axes[of.stack :])
            spreads[name] = Spread(of.stack, along - of.stack, group, stacked, parts)
        return spreads

    def on_mesh(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        """`function`, written for one device, over arrays of the whole mesh."""
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
        """Arrays of the host, the same on every process, as a copy on every device."""
        if self.devices == 1:
            return jax.device_put(arrays, self.place())
        put = lambda array: jax.make_array_from_callback(array.shape, self.place(), lambda index: array[index])  # noqa: E731
        copies: Tree = jax.tree.map(put, jax.tree.map(np.asarray, arrays))
        return copies

    def place(self, axes: Axes = ()) -> NamedSharding:
        """The sharding of an array with these mesh axes; without any, a copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))


def apart(function: Callable[[jax.Array], jax.Array], array: jax.Array, axes: Axes) -> jax.Array:
    """`function` of the part that a device holds along the axis model too, where `axes` has it, and so its result.

    Before a collective along another axis XLA would make such an array whole.
    """
    if "model" not in axes:
        return function(array)
    spec = PartitionSpec(*("model" if axis == "model" else None for axis in axes))
    result: jax.Array = jax.shard_map(function, in_specs=spec, out_specs=spec, axis_names={"model"}, check_vma=False)(
        array
    )
    return result


def manual(axes: Axes) -> PartitionSpec:
    """What of an array's mesh axes `jax.shard_map` takes, where model is left to XLA."""
    return PartitionSpec(*(axis if axis in MANUAL else None for axis in axes))
