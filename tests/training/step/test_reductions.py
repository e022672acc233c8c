"""Sums in the fixed tree have the bits of the explicit tree, however the terms are distributed."""

import functools
import re
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from palmetto.parallel.collectives import Group
from palmetto.parallel.sharding import Spread
from palmetto.training.step import reductions
from tests.conftest import need_devices, slow_but
from tests.references import decoder as reference
from tests.references.sums import halves_sum

pytestmark = pytest.mark.optimized

COLUMNS = 64
Array = np.ndarray


def terms(n: int) -> Array:
    """Returns float32 terms [n, COLUMNS] whose magnitudes differ so much that the order of a sum changes its bits."""
    random = np.random.default_rng(n)
    drawn = (random.normal(size=(n, COLUMNS)) * 10.0 ** random.integers(-3, 4, size=(n, COLUMNS))).astype(np.float32)
    drawn[:, 0] = -0.0
    return drawn


def same_bits(one: jax.Array | Array, other: jax.Array | Array) -> bool:
    """Returns whether two arrays have the same bits, which distinguishes −0 from 0."""
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def tree_sum(terms: Array) -> Array:
    """Returns the explicit sum ((0+1)+(2+3))+((4+5)+(6+7)) … in float32."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])


@functools.cache
def compiled(n: int) -> Callable[[Array], jax.Array]:
    return jax.jit(lambda leaves: reductions.sum_over_leaves(lambda leaf: leaf, leaves))


@pytest.mark.parametrize("n", slow_but([1, 8, 32], [1, 2, 4, 8, 16, 32, 64]))
def test_sum_over_leaves_matches_the_tree_to_the_bit(n: int) -> None:
    leaves = terms(n)
    total = np.asarray(compiled(n)(leaves))
    assert same_bits(total, tree_sum(leaves))
    if n > 2:
        in_order, strided = functools.reduce(np.add, leaves), tree_sum(np.concatenate([leaves[0::2], leaves[1::2]]))
        assert np.any(total != in_order), "these terms do not tell the tree from a sum in order"
        assert np.any(total != strided), "these terms do not tell the tree from one of other pairs"


@pytest.mark.parametrize("devices", [2, 4, 8])
@pytest.mark.parametrize("n", [8, 32])
def test_leaves_spread_over_devices_give_the_same_bits(n: int, devices: int) -> None:
    leaves = terms(n)
    whole = compiled(n)(leaves)
    a_share = leaves.reshape(devices, n // devices, COLUMNS)
    assert same_bits(whole, tree_sum(np.stack([compiled(n // devices)(share) for share in a_share])))
    # Here the leaves are summed across devices first, so that the device is the low bits of a leaf's number.
    in_turn = leaves.reshape(n // devices, devices, COLUMNS)
    assert same_bits(whole, compiled(n // devices)(np.stack([compiled(devices)(turn) for turn in in_turn])))


@pytest.mark.parametrize("n", [2, 8])
def test_the_product_of_a_leaf_is_rounded_before_addition(n: int) -> None:
    """If the compiler fused the product with the sum, one leaf per device would give other bits."""
    leaves, factor = terms(n), np.random.default_rng(0).normal(size=COLUMNS).astype(np.float32)
    total = jax.jit(lambda leaves: reductions.sum_over_leaves(lambda leaf: (leaf * factor, {"all": leaf}), leaves))(
        leaves
    )
    assert same_bits(total[0], tree_sum(leaves * factor))
    assert same_bits(total[1]["all"], tree_sum(leaves))


@pytest.mark.parametrize("n", [1, 2, 8])
def test_leaves_are_reduced_before_they_are_added(n: int) -> None:
    leaves = terms(n)
    total = jax.jit(partial(reductions.sum_over_leaves, lambda leaf: leaf, reduce=lambda sums: sums + 1))
    assert same_bits(total(leaves), tree_sum(leaves + np.float32(1)))


def test_a_single_leaf_is_computed_in_a_loop() -> None:
    leaves = terms(1)
    taken = jax.jit(lambda leaves: reductions.sum_over_leaves(lambda leaf: 3 * leaf, leaves, always_in_loop=True))
    assert same_bits(taken(leaves), 3 * leaves[0])
    assert " while(" in (taken.lower(leaves).compile().as_text() or ""), "the compiler has taken the loop apart"


@pytest.mark.parametrize("n", [0, 3, 6, 12])
def test_only_powers_of_two_are_accepted(n: int) -> None:
    with pytest.raises(AssertionError):
        reductions.sum_over_leaves(lambda leaf: leaf, jnp.zeros((n, 2)))


SHAPES = {
    "embedding": (48, 10),
    "expert_up": (3, 4, 10, 6),
    "final_norm": (10,),
    "norm": (3, 10),
    "q": (3, 10, 14),
    "u": (3, 2, 5),
}
STACKS = {"embedding": 0, "expert_up": 2, "final_norm": 0, "norm": 1, "q": 1, "u": 1}
SPREADS = {name: Spread(stack) for name, stack in STACKS.items()}
SCALES = np.array([1e-4, 1.0, 30.0], np.float32)


def matrices(array: Array, stack: int) -> dict[tuple[int, ...], Array]:
    """Returns the logical matrices by their indices."""
    return {index: array[index] for index in np.ndindex(array.shape[:stack])}


def some_arrays(seed: int) -> dict[str, Array]:
    """Returns arrays of SHAPES whose layers and experts differ in scale."""
    random = np.random.default_rng(seed)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    for name, array in arrays.items():
        for index, matrix in matrices(array, STACKS[name]).items():
            matrix *= np.prod([SCALES[i % 3] for i in index])
    return arrays


global_norm = jax.jit(lambda arrays: reductions.global_norm(arrays, SPREADS))
sum_of_squares = jax.jit(reductions.sum_of_squares, static_argnums=1)


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=20)
def test_global_norm_agrees_with_float64(seed: int) -> None:
    arrays = some_arrays(seed)
    assert float(global_norm(arrays)) == pytest.approx(reference.norm(arrays), rel=3e-7)


def test_global_norm_shows_nan_and_infinity() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for name in SHAPES:
            arrays = some_arrays(0)
            arrays[name].reshape(-1)[-1] = bad
            assert not np.isfinite(global_norm(arrays)), (name, bad)
    assert global_norm({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}) == 0


def test_stacking_does_not_change_bits_of_the_global_norm() -> None:
    arrays = some_arrays(1)
    apart = {
        ".".join([name, *(f"{i:03d}" for i in index)]): matrix
        for name, array in arrays.items()
        for index, matrix in matrices(array, STACKS[name]).items()
    }
    assert len(apart) == 1 + 12 + 1 + 3 + 3 + 3
    assert global_norm(arrays) == jax.jit(lambda a: reductions.global_norm(a, dict.fromkeys(a, Spread(0))))(apart)


@pytest.mark.parametrize("name", slow_but(["expert_up"], SHAPES))
def test_root_mean_square_is_taken_per_logical_matrix(name: str) -> None:
    array, stack = some_arrays(2)[name], STACKS[name]
    rms = np.asarray(reductions.root_mean_square(jnp.asarray(array), Spread(stack)))
    expected = [reference.rms(matrix.astype(np.float64)) for matrix in matrices(array, stack).values()]
    assert np.allclose(rms.reshape(-1), expected, rtol=1e-6, atol=0)
    assert rms.shape == array.shape[:stack] + (1,) * (array.ndim - stack)


@pytest.mark.parametrize(("rows", "chunks"), [(1, 1), (6, 2), (16, 16), (100, 4), (512, 512), (6144, 1024)])
@pytest.mark.parametrize("leading", slow_but([[3]], [[], [3], [2, 3]]), ids=str)
def test_squares_are_summed_by_rows_then_by_chunks(leading: list[int], rows: int, chunks: int) -> None:
    array = np.random.default_rng(rows).normal(size=(*leading, rows, 9)).astype(np.float32)
    found = np.asarray(sum_of_squares(array, Spread(len(leading))))
    by_row = halves_sum(np.square(array), -1).reshape(*leading, chunks, -1)
    assert same_bits(found, halves_sum(halves_sum(by_row, -1), -1))
    assert np.allclose(found, np.square(array, dtype=np.float64).sum((-2, -1)), rtol=3e-7, atol=0)


mean = jax.jit(reductions.mean, static_argnums=(1, 2))


@pytest.mark.parametrize("shape", [(16, 4, 512), (6, 5, 7)])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_a_mean_agrees_with_float64(axis: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32) + 1
    expected = array.astype(np.float64).mean(axis)
    means = mean(array, axis, Spread(0))
    assert means.shape == expected.shape
    assert np.allclose(means, expected, rtol=1e-6, atol=1e-6)


def test_a_mean_over_data_gathers_no_model_shards() -> None:
    """It has the bits of one device, and each device gathers its own columns only."""
    need_devices(4)
    array = some_arrays(4)["embedding"]
    devices = jax.sharding.Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("data", "model"))
    spread = Spread(0, 0, Group("data", 2, True), (), (1, 2))

    def means(array: jax.Array) -> jax.Array:
        over_data = PartitionSpec("data")
        return jax.shard_map(
            lambda part: reductions.mean(part, 0, spread),
            mesh=devices,
            in_specs=over_data,
            out_specs=PartitionSpec(),
            axis_names={"data"},
            check_vma=False,
        )(array)

    there = jax.device_put(array, jax.sharding.NamedSharding(devices, PartitionSpec("data", "model")))
    compiled = jax.jit(means).lower(there).compile()
    program = compiled.as_text()
    assert program
    assert same_bits(compiled(there), mean(array, 0, Spread(0)))
    gathers = re.findall(r"= f32\[([\d,]*)\]\S* all-gather\(", program)
    assert set(gathers) == {"16,5"}, "chunks of rows by half of the columns"
