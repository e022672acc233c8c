"""ZeRO: divides weights, gradients and moments over the devices along the axis data (arXiv 1910.02054, section 5).

Level 0 divides nothing, level 1 the optimizer's state, level 2 also the gradients, level 3 also the weights. At every
level a leaf's gradient is summed over the devices before the next leaf is added, so that the gradient's tree is the
same. All functions are called inside `jax.shard_map`.
"""

import jax

from palmetto.model.layout import Arranged, Fetch, Layer, map_named
from palmetto.model.weights import Parameters
from palmetto.parallel import collectives
from palmetto.parallel.sharding import Axes, Sharding, apart


class Zero:
    """Gathers weights, reduces gradients and selects a device's own partition of them."""

    def __init__(self, sharding: Sharding, activations: str, *, whole_leaves: bool = False) -> None:
        """Takes the sharding, and the type `activations` in which weights are sent that are cast to it anyway.

        whole_leaves: each leaf is computed without communication along data, even at level 3. The weights are then
        gathered once a step, and a leaf's gradients are reduced when the leaf is done.
        """
        self.whole_leaves = whole_leaves
        self._level, self._data, self._sharding = sharding.zero, sharding.group("data"), sharding
        self._level_within_step = min(self._level, 2) if whole_leaves else self._level
        self._activations, self._updated = activations, sharding.updated

    def own_partition(self, parameters: Parameters) -> Parameters:
        """Returns the partition that this device updates, of parameters as they are stored between steps."""
        return self._along_data(collectives.own_part, parameters) if self._level in (1, 2) else parameters

    def gather_partitions(self, parameters: Parameters) -> Parameters:
        """Returns parameters as they are stored between steps, from the partition that this device has updated."""
        return self._along_data(collectives.gather, parameters) if self._level in (1, 2) else parameters

    def gather_weights(self, partition: Arranged) -> Arranged:
        """Returns the weights for the leaves: whole, or the partition if layers are gathered one at a time."""
        within_leaves = self._level_within_step in (0, 3)
        return partition if within_leaves else self._map_divided(collectives.gather, partition)

    @property
    def gather_layer(self) -> Fetch | None:
        """The function that gathers the weights of one layer, or of the ends, while a leaf is computed.

        At level 3 its derivative reduces the gradients, and each device keeps its part. Weights remain divided along
        the axis model; if that has several devices, the program has the same form at every level. None if there is
        nothing to gather.
        """
        gathers = self._level_within_step == 3 and self._data.size > 1
        if not gathers and self._sharding.sizes["model"] == 1:
            return None
        group = self._data if gathers else self._data._replace(size=1)

        def gather(name: str, array: jax.Array) -> jax.Array:
            row = self._sharding.arranged[name]
            if row.data_dimension is None:
                return collectives.shared(array, group) if gathers else array
            dimension, travels_as = array.ndim + row.data_dimension, self._activations if row.cast else "float32"
            axes = self._sharding.arranged_axes(name, array)
            return apart(lambda array: collectives.gathered(array, dimension, group, travels_as), array, axes)

        def gather_layer(layer: Layer) -> Layer:
            return {name: gather(name, array) for name, array in layer.items()}

        return gather_layer

    def reduce_gradients(self, gradients: Arranged) -> Arranged:
        """Sums a leaf's gradients over the devices: by reduce-scatter at level 2, by all-reduce at levels 0 and 1.

        At level 3 the derivative of `gather_layer` has already reduced them, unless `whole_leaves` is set.
        """
        if self._level_within_step == 3:
            return gradients
        if self._level_within_step == 2:
            return self._map_divided(collectives.reduce_scatter, gradients, collectives.all_reduce)
        return jax.tree.map(lambda array: collectives.all_reduce(array, self._data), gradients)

    def own_gradients(self, gradients: Arranged) -> Arranged:
        """Returns the reduced gradients of the partition that this device updates."""
        return self._map_divided(collectives.own_part, gradients) if self._level == 1 else gradients

    def _along_data(self, function: collectives.Along, parameters: Parameters) -> Parameters:
        """Applies a function to each stored parameter along the dimension that is divided over data."""

        def apply(axes: Axes, array: jax.Array) -> jax.Array:
            if "data" not in axes:
                return array
            return apart(lambda array: function(array, axes.index("data"), self._data), array, axes)

        return {name: apply(self._updated[name], array) for name, array in parameters.items()}

    def _map_divided(
        self, function: collectives.Along, arranged: Arranged, of_others: collectives.Among | None = None
    ) -> Arranged:
        """Applies a function to each arranged array that data may divide, and `of_others` to the others."""

        def apply(name: str, array: jax.Array) -> jax.Array:
            dimension = self._sharding.arranged[name].data_dimension
            if dimension is None:
                return of_others(array, self._data) if of_others else array
            place, axes = array.ndim + dimension, self._sharding.arranged_axes(name, array)
            return apart(lambda array: function(array, place, self._data), array, axes)

        return map_named(apply, arranged)
