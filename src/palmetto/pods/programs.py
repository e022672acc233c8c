"""The two halves of a training step as separate compiled programs, so that pods can exchange sums between them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from palmetto.model import tuning
from palmetto.model.experts.router import Routing
from palmetto.parallel.sharding import MANUAL, Sharding
from palmetto.pods.assignment import pair_up
from palmetto.pods.wire import Array
from palmetto.recipe import Recipe
from palmetto.training.step import loss_scale as loss_scales
from palmetto.training.step import state as states
from palmetto.training.step.context import make_context
from palmetto.training.step.gradient import LEAVES, BatchSums, spread_leaves, sum_over_batch, sum_over_shares
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State
from palmetto.training.step.update import Metrics, update

_APART = PartitionSpec(tuple(sorted(MANUAL)))
"""The sums of all devices are stacked along a leading axis. A gradient that is divided over devices (mesh.zero 1 to 3)
is sent once, in shares; one that every device holds (mesh.zero 0) is sent once for each device."""


def of_one_pod(recipe: Recipe) -> Recipe:
    """Returns the recipe of a single pod."""
    return recipe.model_copy(update={"mesh": recipe.mesh.model_copy(update={"pod": 1})})


class Programs:
    """The compiled programs of a pod, for batches of one size at a time."""

    def __init__(self, recipe: Recipe, parts: int) -> None:
        """recipe: the recipe of one pod. parts: the number of parts that a batch is divided into."""
        self.parts, self.sharding = parts, Sharding(recipe)
        self._context = make_context(recipe, tuning.for_platform(jax.default_backend(), recipe.mesh), self.sharding)
        self._state_specs = states.specifications(recipe, self.sharding)
        self.state_shapes = states.shapes(recipe, self.sharding)
        self.state_places = states.places(recipe, self.sharding)
        self._compiled_for: object = None

    def compile(self, part: Batch) -> None:
        """Compiles the programs for parts of a batch shaped like `part`, [leaves, micro_batch, …]."""
        wanted = [None if array is None else (array.shape, array.dtype) for array in part]
        if wanted == self._compiled_for:
            return
        everywhere = self.sharding.place()
        scalar = jax.ShapeDtypeStruct((), np.float32, sharding=everywhere)
        leaves = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=everywhere), part)
        target_count = None if part.scored is None else scalar
        lowered = jax.jit(self._gradients).lower(self.state_shapes, leaves, target_count)
        self._sums = lowered.compile()
        self._place_of_sums = self._sums.output_shardings
        self.sums_shapes: BatchSums = jax.tree.map(
            lambda shape, place: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place),
            lowered.out_info,
            self._place_of_sums,
        )
        count = len(part.tokens) * self.parts
        update = jax.jit(
            lambda state, parts, rate: self._update(state, parts, count, rate),
            donate_argnums=0,
            out_shardings=(self.state_places, everywhere),
        )
        self._updated = update.lower(self.state_shapes, (self.sums_shapes,) * self.parts, scalar).compile()
        self._compiled_for = wanted

    def _gradients(self, state: State, leaves: Batch, target_count: jax.Array | None) -> BatchSums:
        count = len(leaves.tokens) * self.parts

        def on_device(state: State, spread: Batch, target_count: jax.Array | None) -> BatchSums:
            scale = loss_scales.factor(state.loss_scale)
            sums = sum_over_batch(
                self._context, state.parameters, spread, count=count, scale=scale, target_count=target_count
            )
            return BatchSums(*jax.tree.map(lambda total: total[None], sums))

        in_specs = (self._state_specs, LEAVES, PartitionSpec())
        sums: BatchSums = self.sharding.on_mesh(on_device, in_specs, _APART)(
            state, spread_leaves(leaves, self.sharding), target_count
        )
        return sums

    def _update(
        self, state: State, parts: tuple[BatchSums, ...], count: int, learning_rate: jax.Array
    ) -> tuple[State, Metrics]:
        def on_device(state: State, parts: tuple[BatchSums, ...], learning_rate: jax.Array) -> tuple[State, Metrics]:
            # The terms are arguments of this program, so that no addition can be fused with a product.
            sums = pair_up(jax.tree.map(lambda total: total[0], parts), lambda a, b: jax.tree.map(jnp.add, a, b))
            return update(self._context, state, sum_over_shares(self._context, sums), count, learning_rate)

        in_specs = (self._state_specs, _APART, PartitionSpec())
        out_specs = (self._state_specs, PartitionSpec())
        result: tuple[State, Metrics] = self.sharding.on_mesh(on_device, in_specs, out_specs)(
            state, parts, learning_rate
        )
        return result

    def gradients(self, state: State, part: Batch, target_count: Array | None) -> BatchSums:
        """Returns the sums over a part's leaves."""
        sums: BatchSums = self._sums(state, *self.sharding.everywhere((part, target_count)))
        return sums

    def update(self, state: State, parts: tuple[BatchSums, ...], learning_rate: np.float32) -> tuple[State, Metrics]:
        """Returns the state after an update by the sums of all parts, in order. `state` is donated."""
        result: tuple[State, Metrics] = self._updated(state, parts, self.sharding.everywhere(learning_rate))
        return result

    def place_sums(self, arrays: list[Array]) -> BatchSums:
        """Puts received sums on the pod's devices. With a single device nothing is copied."""
        sums: BatchSums = jax.tree.unflatten(jax.tree.structure(self.sums_shapes), arrays)
        placed: BatchSums = jax.device_put(sums, self._place_of_sums)
        return placed

    def place_state(self, arrays: list[Array]) -> State:
        """Puts a received state on the pod's devices."""
        state: State = jax.tree.unflatten(jax.tree.structure(self.state_shapes), arrays)
        placed: State = jax.device_put(state, self.state_places)
        return placed


def on_host(tree: BatchSums | State) -> list[Array]:
    """Returns the arrays of a tree in its order, without a copy if there is a single CPU device."""
    return [np.asarray(array, order="C") for array in jax.tree.leaves(tree)]


def named_metrics(metrics: Metrics) -> dict[str, Array]:
    """Returns metrics as NumPy arrays by name, as a message holds them."""
    values = {name: value for name, value in metrics._asdict().items() if value is not None and name != "routing"}
    routing = {} if metrics.routing is None else metrics.routing._asdict()
    named: dict[str, Array] = jax.device_get(values | {f"routing.{name}": value for name, value in routing.items()})
    return {name: np.asarray(value) for name, value in named.items()}


def metrics_from(named: Mapping[str, Array]) -> Metrics:
    """Returns the metrics, of NumPy arrays, that `named_metrics` has named."""
    routing = {name.removeprefix("routing."): value for name, value in named.items() if name.startswith("routing.")}
    values = {name: value for name, value in named.items() if not name.startswith("routing.")}
    return Metrics(
        **{"loss_scale": None, **values},  # type: ignore[arg-type]
        routing=Routing(**routing) if routing else None,  # type: ignore[arg-type]
    )
