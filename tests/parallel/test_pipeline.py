"""Tests pipelines on virtual devices: bits of sums, work and memory; test_pipelined.py has decoders in them."""

import collections
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback
from jax.sharding import Mesh, PartitionSpec

from palmetto.parallel.pipeline import StageSums, pipeline_gradients
from palmetto.parallel.schedules import Schedule
from palmetto.training.step.reductions import sum_over_leaves
from tests.conftest import slow_but
from tests.parallel.test_schedules import SCHEDULES, schedules
from tests.references.quickly import QUICKLY
from tests.training.step.test_reductions import same_bits, terms

Tree = Any
StageFunction = Callable[[Tree, jax.Array, Tree], tuple[jax.Array, jax.Array, Tree]]
EVERYWHERE, STAGE = PartitionSpec(), PartitionSpec("stage")
SPREAD = StageSums(EVERYWHERE, STAGE, EVERYWHERE, EVERYWHERE, STAGE)  # type: ignore[arg-type]


def mesh_of(**sizes: int) -> Mesh:
    count = int(np.prod(list(sizes.values())))
    return Mesh(np.array(jax.devices()[:count]).reshape(tuple(sizes.values())), tuple(sizes))


def over_stages(sums: StageSums) -> StageSums:
    """Returns the sums with those parts that stages share summed over the stages."""
    ends, objective, end_report = jax.lax.psum((sums.ends, sums.objective, sums.end_report), "stage")
    return sums._replace(ends=ends, objective=objective, end_report=end_report)


@dataclasses.dataclass(frozen=True)
class Network:
    """Holds the functions of a pipeline and their parameters."""

    first: Callable[[Tree, Tree], jax.Array]
    stage: StageFunction
    last: Callable[[Tree, jax.Array, Tree], tuple[jax.Array, Tree]]
    ends: Tree
    layers: Tree

    def pipeline(self, stages: int, schedule: Schedule) -> Callable[[Tree], StageSums]:
        """Returns a compiled function from micro-batches to their sums."""

        def on_device(ends: Tree, layers: Tree, micro_batches: Tree) -> StageSums:
            run = functools.partial(pipeline_gradients, self.first, self.stage, self.last, schedule=schedule)
            return over_stages(run(ends, layers, micro_batches))

        mapped = jax.shard_map(
            on_device,
            mesh=mesh_of(stage=stages),
            in_specs=(EVERYWHERE, STAGE, EVERYWHERE),
            out_specs=SPREAD,
            check_vma=False,
        )
        return functools.partial(jax.jit(mapped, compiler_options=QUICKLY), self.ends, self.layers)

    def alone(self, micro_batches: Tree) -> StageSums:
        """Returns the same sums by ordinary differentiation on one device."""

        def objective(parameters: tuple[Tree, Tree], micro_batch: Tree) -> tuple[jax.Array, tuple[Tree, Tree]]:
            ends, layers = parameters
            x, added, of_stage = self.stage(layers, self.first(ends, micro_batch), micro_batch)
            result, of_end = self.last(ends, x, micro_batch)
            return result + added, (of_end, of_stage)

        def sums(micro_batches: Tree) -> StageSums:
            whole = jax.value_and_grad(objective, has_aux=True)
            leaves = jax.lax.map(functools.partial(whole, (self.ends, self.layers)), micro_batches)
            (value, reports), (ends, layers) = jax.tree.map(lambda leaf: jnp.sum(leaf, 0), leaves)
            return StageSums(ends, layers, value, *reports)

        result: StageSums = jax.jit(sums, compiler_options=QUICKLY)(micro_batches)
        return result


def assert_close(ours: Tree, theirs: Tree, tolerance: float = 1e-5) -> None:
    """Asserts that each array is within a fraction of its norm of the expected one."""

    def check(path: Any, *arrays: jax.Array) -> None:
        one, other = (np.asarray(array, np.float64) for array in arrays)
        distance = np.linalg.norm(one - other)
        assert distance <= tolerance * np.linalg.norm(other), (jax.tree_util.keystr(path), distance)

    jax.tree_util.tree_map_with_path(check, ours, theirs)


# A network that compiles quickly: a tied table of vectors, and layers x + tanh(x·w).


def small(layers: int = 8, width: int = 8, dtype: Any = jnp.float32) -> Network:
    def first(ends: Tree, micro_batch: Tree) -> jax.Array:
        x: jax.Array = ends["table"][micro_batch].astype(dtype)
        return x

    def stage(layers: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        def layer(x: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
            return x + jnp.tanh(x @ w.astype(dtype)), jnp.mean(jnp.square(x.astype(jnp.float32)))

        x, squares = jax.lax.scan(layer, x, layers)
        return x, 0.1 * jnp.sum(squares), {"squares": squares}

    def last(ends: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, Tree]:
        scores = x @ ends["table"].astype(dtype).T
        return jnp.mean(jnp.square(scores.astype(jnp.float32) - micro_batch[..., None])), {"count": jnp.float32(1)}

    random = np.random.default_rng(0)
    table, weights = (
        jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((10, width), (layers, width, width))
    )
    return Network(first, stage, last, {"table": table}, 0.3 * weights)


def in_turn(stage: StageFunction, stages: int) -> StageFunction:
    """Returns a function that runs all stages one after the other on one device."""

    def whole(layers: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        added, reports = jnp.float32(0), list[Tree]()
        for part in jnp.split(layers, stages):
            x, more, report = stage(part, x, micro_batch)
            added, reports = added + more, [*reports, report]
        return x, added, jax.tree.map(lambda *parts: jnp.concatenate(parts), *reports)

    return whole


def numbers(count: int, shape: tuple[int, int] = (2, 5)) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(10, size=(count, *shape)))


@pytest.mark.parametrize(("stages", "count"), slow_but([(4, 8)], [(1, 3), (4, 8), (8, 3)]))
def test_gradients_objective_and_reports_agree_with_one_device(stages: int, count: int) -> None:
    network = small()
    both = [network.pipeline(stages, schedule)(numbers(count)) for schedule in SCHEDULES]
    expected = network.alone(numbers(count))
    for sums in both:
        assert_close(sums, expected)
        assert sums.end_report["count"] == count
    if stages > 1:
        assert all(same_bits(one, other) for one, other in zip(*map(jax.tree.leaves, both), strict=True))


@pytest.mark.slow
def test_activations_may_be_in_half_precision() -> None:
    network = small(dtype=jnp.bfloat16)
    sums = network.pipeline(2, "1f1b")(numbers(4))
    assert {array.dtype for array in jax.tree.leaves(sums)} == {jnp.dtype(jnp.float32)}
    assert_close(sums, network.alone(numbers(4)), tolerance=2**-7)


def test_results_of_idle_stages_are_discarded_even_if_nan() -> None:
    """Layers divide by their input, which is zero before the first micro-batch arrives."""
    plain = small()

    def stage(layers: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        x, added, report = plain.stage(layers, x, micro_batch)
        return x / jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)), added, report

    expected = dataclasses.replace(plain, stage=in_turn(stage, 4)).alone(numbers(3))
    assert_close(dataclasses.replace(plain, stage=stage).pipeline(4, "1f1b")(numbers(3)), expected)


# Bits


@pytest.mark.parametrize("devices", slow_but([4], [1, 2, 4]))
def test_sums_have_the_bits_of_the_tree(devices: int) -> None:
    """Each layer's gradient and the end report are sums of given terms, whose order affects their bits."""
    leaves = terms(16)

    def stage(layers: Tree, x: jax.Array, term: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        return x, jnp.sum(layers * term), {}

    def last(ends: Tree, x: jax.Array, term: Tree) -> tuple[jax.Array, Tree]:
        return jnp.sum(ends * x), {"term": term}

    def reduce(sums: StageSums) -> StageSums:
        """Sums over the tree's lower levels, which run across devices; a device's number is the low bits reversed."""
        distance = devices // 2
        while distance:
            pairs = [(i, i ^ distance) for i in range(devices)]
            sums = jax.tree.map(lambda x, pairs=pairs: x + jax.lax.ppermute(x, "data", pairs), sums)
            distance //= 2
        return sums

    def first(ends: Tree, term: Tree) -> jax.Array:
        return 0 * term

    def on_device(layers: Tree, leaves: jax.Array) -> StageSums:
        run = functools.partial(pipeline_gradients, first, stage, last, schedule="1f1b", reduce=reduce)
        return over_stages(run(jnp.ones(leaves.shape[2]), layers, leaves[:, 0]))

    reversed_bits = {1: [0], 2: [0, 1], 4: [0, 2, 1, 3]}[devices]
    by_device = leaves.reshape(-1, devices, leaves.shape[1])[:, reversed_bits]
    sums = jax.jit(
        jax.shard_map(
            on_device,
            mesh=mesh_of(data=devices, stage=2),
            in_specs=(STAGE, PartitionSpec(None, "data")),
            out_specs=SPREAD,
            check_vma=False,
        )
    )(jnp.zeros((4, leaves.shape[1])), by_device)
    tree = jax.jit(lambda leaves: sum_over_leaves(lambda leaf: leaf, leaves))(leaves)
    assert all(same_bits(layer, tree) for layer in sums.layers)
    assert np.array_equal(sums.end_report["term"], tree)


# Collectives along other axes


@pytest.mark.slow
def test_stages_may_contain_collectives_along_other_axes() -> None:
    """Weights are gathered by permutations along one axis; XLA divides products along another.

    It would deadlock if stages took different branches.
    """
    network = small()
    other = [(0, 1), (1, 0)]

    @jax.custom_vjp
    def gather(part: jax.Array) -> jax.Array:
        received = jax.lax.ppermute(part, "data", other)
        is_first = jax.lax.axis_index("data") == 0
        pair = jnp.where(is_first, part, received), jnp.where(is_first, received, part)
        return jnp.concatenate(pair, axis=1)

    def scatter(_: None, d: jax.Array) -> tuple[jax.Array]:
        low, high = jnp.split(d, 2, axis=1)
        is_first = jax.lax.axis_index("data") == 0
        received = jax.lax.ppermute(jnp.where(is_first, high, low), "data", other)
        return (jnp.where(is_first, low, high) + received,)

    gather.defvjp(lambda part: (gather(part), None), scatter)

    def stage(parts: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        layers = jax.lax.with_sharding_constraint(gather(parts), PartitionSpec(None, None, "model"))
        x, added, report = network.stage(layers, x, micro_batch)
        return jnp.roll(jax.lax.with_sharding_constraint(x, PartitionSpec("model")), 1, axis=0), added, report

    def whole_stage(layers: Tree, x: jax.Array, micro_batch: Tree) -> tuple[jax.Array, jax.Array, Tree]:
        x, added, report = network.stage(layers, x, micro_batch)
        return jnp.roll(x, 1, axis=0), added, report

    def on_device(ends: Tree, parts: Tree, micro_batches: Tree) -> StageSums:
        def reduce(sums: StageSums) -> StageSums:
            layers, sums = sums.layers, jax.tree.map(lambda x: jax.lax.psum(x, "data"), sums._replace(layers=()))
            return sums._replace(layers=layers)

        run = functools.partial(pipeline_gradients, network.first, stage, network.last, schedule="1f1b")
        return over_stages(run(ends, parts, micro_batches, reduce=reduce))

    parts = PartitionSpec("stage", "data")
    sums = jax.jit(
        jax.shard_map(
            on_device,
            mesh=mesh_of(data=2, stage=2, model=2),
            in_specs=(EVERYWHERE, parts, PartitionSpec("data")),
            out_specs=SPREAD._replace(layers=parts),
            axis_names={"data", "stage"},
            check_vma=False,
        )
    )(network.ends, network.layers, numbers(6))
    assert_close(sums, dataclasses.replace(network, stage=in_turn(whole_stage, 2)).alone(numbers(6)))


# Work and memory


@schedules
def test_the_number_of_halves_is_that_of_the_formula(schedule: Schedule) -> None:
    """All devices compute in each half in which any has work; their number is the time, since halves are sequential."""
    calls: collections.Counter[str] = collections.Counter()
    stages, count = 4, 3

    @jax.custom_vjp
    def counted(x: jax.Array) -> jax.Array:
        io_callback(lambda: calls.update(["forward"]), None)
        return x

    def back(_: None, d: jax.Array) -> tuple[jax.Array]:
        io_callback(lambda: calls.update(["backward"]), None)
        return (d,)

    counted.defvjp(lambda x: (counted(x), None), back)
    plain = small()
    network = dataclasses.replace(plain, stage=lambda layers, x, batch: plain.stage(layers, counted(x), batch))
    jax.block_until_ready(network.pipeline(stages, schedule)(numbers(count)))
    jax.effects_barrier()
    halves = stages * (count + stages - 1)
    # A backward half recomputes its forward half.
    assert calls == {"forward": 2 * halves, "backward": halves}


def test_memory_is_proportional_to_the_micro_batches_in_flight() -> None:
    """Of the temporaries, GPipe's grow by one input per micro-batch and 1F1B's stay constant."""
    network, shape, stages = small(width=32), (2, 512), 4
    one_input = 4 * 32 * shape[0] * shape[1]

    def temporaries(schedule: Schedule, count: int) -> float:
        run = network.pipeline(stages, schedule)
        lowered = run.func.lower(*run.args, numbers(count, shape))  # type: ignore[attr-defined]
        return float(lowered.compile().memory_analysis().temp_size_in_bytes / one_input)

    # The tree has the same number of levels for all of these counts.
    gpipe, one_by_one = ([temporaries(schedule, count) for count in (8, 15)] for schedule in SCHEDULES)
    assert gpipe[1] - gpipe[0] == pytest.approx(15 - 8, abs=0.1)
    assert one_by_one[1] - one_by_one[0] == pytest.approx(0, abs=0.1)
    assert gpipe[0] - one_by_one[0] == pytest.approx(8 - (2 * stages - 1), abs=0.1)
