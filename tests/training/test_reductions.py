"""Sums in the fixed tree: their bits are those of the written-out tree, however the terms are spread."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.training import reductions
from tests import reference

COLUMNS = 64
Array = np.ndarray


def terms(n: int) -> Array:
    """Float32 terms [n, COLUMNS] of such different magnitudes that the order of a sum shows in its bits."""
    random = np.random.default_rng(n)
    drawn = (random.normal(size=(n, COLUMNS)) * 10.0 ** random.integers(-3, 4, size=(n, COLUMNS))).astype(np.float32)
    drawn[:, 0] = -0.0
    return drawn


def same_bits(one: jax.Array | Array, other: jax.Array | Array) -> bool:
    """Which tells −0 from 0."""
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def tree_sum(terms: Array) -> Array:
    """((0+1)+(2+3))+((4+5)+(6+7)) … in float32, written out."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])


@functools.cache
def compiled(n: int) -> Callable[[Array], jax.Array]:
    return jax.jit(lambda leaves: reductions.sum_over_leaves(lambda leaf: leaf, leaves))


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64])
def test_sum_over_leaves_is_the_written_out_tree_to_the_bit(n: int) -> None:
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
    # The other way, a step of all devices at a time, summed across them first: their number is the leaf's low bits.
    in_turn = leaves.reshape(n // devices, devices, COLUMNS)
    assert same_bits(whole, compiled(n // devices)(np.stack([compiled(devices)(turn) for turn in in_turn])))


@pytest.mark.parametrize("n", [2, 8])
def test_a_leafs_last_operation_is_rounded_before_it_is_added(n: int) -> None:
    """A compiler that fuses a product into the sum behind it makes other bits of one leaf on each of n devices."""
    leaves, factor = terms(n), np.random.default_rng(0).normal(size=COLUMNS).astype(np.float32)
    total = jax.jit(lambda leaves: reductions.sum_over_leaves(lambda leaf: (leaf * factor, {"all": leaf}), leaves))(
        leaves
    )
    assert same_bits(total[0], tree_sum(leaves * factor))
    assert same_bits(total[1]["all"], tree_sum(leaves))


@pytest.mark.parametrize("n", [0, 3, 6, 12])
def test_only_powers_of_two_have_the_tree(n: int) -> None:
    with pytest.raises(AssertionError):
        reductions.sum_over_leaves(lambda leaf: leaf, jnp.zeros((n, 2)))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 11, 33])
def test_pairwise_sum_is_the_tree_filled_up_with_zeros(n: int) -> None:
    values = terms(n)
    padded = np.concatenate([values, np.zeros(((1 << (n - 1).bit_length()) - n, COLUMNS), np.float32)])
    assert same_bits(reductions.pairwise_sum(jnp.asarray(values)), tree_sum(padded))


SHAPES = {
    "embedding": (48, 10),
    "expert_up": (3, 4, 10, 6),
    "final_norm": (10,),
    "norm": (3, 10),
    "q": (3, 10, 14),
    "u": (3, 2, 5),
}
STACKS = {"embedding": 0, "expert_up": 2, "final_norm": 0, "norm": 1, "q": 1, "u": 1}
SCALES = np.array([1e-4, 1.0, 30.0], np.float32)


def matrices(array: Array, stack: int) -> dict[tuple[int, ...], Array]:
    """The logical matrices by their indices."""
    return {index: array[index] for index in np.ndindex(array.shape[:stack])}


def some_arrays(seed: int) -> dict[str, Array]:
    """Arrays of SHAPES whose layers, and in them experts, differ in scale."""
    random = np.random.default_rng(seed)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    for name, array in arrays.items():
        for index, matrix in matrices(array, STACKS[name]).items():
            matrix *= np.prod([SCALES[i % 3] for i in index])
    return arrays


global_norm = jax.jit(lambda arrays: reductions.global_norm(arrays, STACKS))
sum_of_squares = jax.jit(reductions.sum_of_squares, static_argnums=1)


@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=20)
def test_global_norm_agrees_with_float64(seed: int) -> None:
    arrays = some_arrays(seed)
    assert float(global_norm(arrays)) == pytest.approx(reference.norm(arrays), rel=3e-7)


def test_global_norm_of_a_nan_or_an_infinity_is_not_finite_and_of_nothing_is_zero() -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for name in SHAPES:
            arrays = some_arrays(0)
            arrays[name].reshape(-1)[-1] = bad
            assert not np.isfinite(global_norm(arrays)), (name, bad)
    assert global_norm({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}) == 0


def test_global_norm_has_the_same_bits_for_layers_and_experts_stacked_or_apart() -> None:
    arrays = some_arrays(1)
    apart = {
        ".".join([name, *(f"{i:03d}" for i in index)]): matrix
        for name, array in arrays.items()
        for index, matrix in matrices(array, STACKS[name]).items()
    }
    assert len(apart) == 1 + 12 + 1 + 3 + 3 + 3
    assert global_norm(arrays) == jax.jit(lambda a: reductions.global_norm(a, dict.fromkeys(a, 0)))(apart)


@pytest.mark.parametrize("name", SHAPES)
def test_root_mean_square_is_that_of_each_logical_matrix_and_broadcasts(name: str) -> None:
    array, stack = some_arrays(2)[name], STACKS[name]
    rms = np.asarray(reductions.root_mean_square(jnp.asarray(array), stack))
    expected = [reference.rms(matrix.astype(np.float64)) for matrix in matrices(array, stack).values()]
    assert np.allclose(rms.reshape(-1), expected, rtol=1e-6, atol=0)
    assert rms.shape == array.shape[:stack] + (1,) * (array.ndim - stack)


@functools.partial(jax.jit, static_argnums=1)
def squares_of_a_plain_stack(matrices: jax.Array, chunks: int) -> jax.Array:
    """Σ x² of matrices [n, rows, columns], `chunks` of rows at a time, then the tree."""
    parts = jnp.sum(jnp.square(matrices).reshape(matrices.shape[0], chunks, -1), axis=2)
    return reductions.pairwise_sum(parts.T)


@pytest.mark.parametrize(("rows", "chunks"), [(1, 1), (6, 2), (16, 16), (100, 4), (512, 256)])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (6, 1)])
def test_a_sum_of_squares_has_the_bits_of_one_stack_of_matrices(
    leading: tuple[int, ...], rows: int, chunks: int
) -> None:
    array = np.random.default_rng(rows).normal(size=(*leading, rows, 9)).astype(np.float32)
    sums = sum_of_squares(array, len(leading))
    assert sums.shape == leading
    assert same_bits(sums, squares_of_a_plain_stack(array.reshape(-1, rows, 9), chunks))
    assert np.allclose(sums, np.square(array, dtype=np.float64).sum((-2, -1)), rtol=3e-7, atol=0)


@pytest.mark.parametrize("rows", [16, 64, 256])
def test_half_of_a_matrixs_rows_is_half_of_the_tree(rows: int) -> None:
    matrix = np.random.default_rng(rows).normal(size=(rows, 9)).astype(np.float32)
    halves = [np.asarray(sum_of_squares(half, 0)) for half in np.split(matrix, 2)]
    assert halves[0] + halves[1] == sum_of_squares(matrix, 0)


mean = jax.jit(reductions.mean, static_argnums=1)


@pytest.mark.parametrize("shape", [(16, 4, 512), (6, 5, 7)])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_a_mean_agrees_with_float64(axis: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(3).normal(size=shape).astype(np.float32) + 1
    expected = array.astype(np.float64).mean(axis)
    means = mean(array, axis)
    assert means.shape == expected.shape
    assert np.allclose(means, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_of_an_axis_is_half_of_its_means_tree(axis: int) -> None:
    array = terms(512).reshape(16, 4, 512)
    halves = [np.asarray(mean(half, axis)) for half in np.split(array, 2, axis)]
    assert np.array_equal(np.add(*halves) / 2, mean(array, axis))
