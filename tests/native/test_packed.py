"""Tests products with packed matrices against float64, and those in int8 against NumPy bit for bit."""

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.native.packed import Packed, pack, pack_int8, packed_products
from palmetto.native.products import product
from tests.native.conftest import SETS, Choose
from tests.native.test_products import draw, exact, is_close

ROWS = st.sampled_from([0, 1, 2, 5, 8, 13, 14, 27, 64, 300])
SIZES = st.sampled_from([1, 3, 4, 31, 32, 33, 100, 257])

Ints = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]


def whole(seed: int, depth: int, columns: int) -> tuple[Ints, Floats]:
    """Returns random values in int8 [depth, columns], the extremes among them, and the scales of the columns."""
    random = np.random.default_rng(seed)
    scales = random.uniform(0.001, 0.1, columns).astype(np.float32)
    return random.integers(-127, 128, (depth, columns)).astype(np.int8), scales


def packed(values: Ints, scales: Floats) -> Packed:
    return pack_int8(jnp.asarray(values), jnp.asarray(scales)[None])


def reference(rows: Floats, values: Ints, scales: Floats) -> Floats:
    """Returns the product of rows, rounded to int8, by whole numbers and the plain formula."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    own = np.rint(rows * (np.float32(127) / largest)).astype(np.int64)
    whole: Floats = (own @ values.astype(np.int64)).astype(np.float32)
    shares: Floats = np.divide(largest, 127, dtype=np.float32)
    return whole * scales * shares


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, depth=SIZES, columns=SIZES, turned=st.booleans())
def test_packed_float_products_are_those_of_float64(
    instruction_set: str, dtype: str, rows: int, depth: int, columns: int, turned: bool
) -> None:
    a, b = draw(1, "float32", rows, depth), draw(2, dtype, depth, columns)
    matrix = pack(b.mT if turned else b, -2 if turned else -1)
    [result] = packed_products(a, (matrix,), jnp.float32)
    assert result.shape == (rows, columns)
    assert is_close(result, exact(a), exact(b))
    assert np.array_equal(result, product([(a, b.astype(jnp.float32))], jnp.float32))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS.filter(bool), depth=SIZES, columns=SIZES)
def test_packed_int8_products_are_those_of_whole_numbers(
    instruction_set: str, rows: int, depth: int, columns: int
) -> None:
    a, (values, scales) = draw(1, "float32", rows, depth), whole(2, depth, columns)
    [result] = packed_products(a, (packed(values, scales),), jnp.float32)
    assert np.array_equal(result, reference(np.asarray(a), values, scales))


def test_the_largest_sums_of_int8_are_exact(instruction_set: str) -> None:
    depth = 1 << 16
    values = np.full((depth, 2), 127, np.int8)
    values[:, 1] = -127
    rows, scales = np.ones((3, depth), np.float32), np.ones(2, np.float32)
    [result] = packed_products(jnp.asarray(rows), (packed(values, scales),), jnp.float32)
    assert np.array_equal(result, reference(rows, values, scales))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int8"])
def test_bits_of_a_row_depend_neither_on_threads_nor_on_others(choose: Choose, name: str, kind: str) -> None:
    a, other = draw(1, "float32", 64, 700), draw(3, "float32", 700, 90)
    matrices = [packed(*whole(2, 700, 500)), packed(*whole(3, 700, 90))]
    if kind != "int8":
        matrices = [pack(draw(2, kind, 700, 500)), pack(other.astype(kind))]
    results = []
    for threads in (1, 2, 8):
        choose(name, threads)
        results.append(packed_products(a, tuple(matrices), jnp.float32))
    for found in results[1:]:
        assert all(map(np.array_equal, results[0], found))
    for some in (a[:1], a[33:41], a[7:60]):
        first = int(np.flatnonzero(np.all(np.asarray(a) == np.asarray(some[0]), axis=1))[0])
        [alone] = packed_products(some, (matrices[1],), jnp.float32)
        assert np.array_equal(alone, results[0][1][first : first + len(some)])


def test_rows_that_are_not_finite_are_nan_and_zeros_are_zero(instruction_set: str) -> None:
    a = draw(1, "float32", 5, 40).at[1, 3].set(jnp.nan).at[2, 4].set(jnp.inf).at[3].set(0).at[4].set(1e-42)
    [result] = packed_products(a, (packed(*whole(2, 40, 50)),), jnp.float32)
    assert np.isnan(result[1:3]).all()
    assert np.isfinite(result[0]).all()
    assert not np.any(result[3:])


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_rows_of_zeros_give_zeros_and_leave_others_alone(instruction_set: str, kind: str) -> None:
    matrix = packed(*whole(2, 70, 50)) if kind == "int8" else pack(draw(2, kind, 70, 50))
    a = draw(1, "float32", 40, 70)
    some = a.at[jnp.asarray([0, 7, 8, 39])].set(0)
    [all_rows], [found] = (packed_products(each, (matrix,), jnp.float32) for each in (a, some))
    kept = np.any(np.asarray(some), axis=1)
    assert np.array_equal(found[kept], all_rows[kept])
    assert not np.any(found[~kept])


def test_results_in_bfloat16_are_rounded_once(instruction_set: str) -> None:
    a, matrix = draw(1, "bfloat16", 20, 130), pack(draw(2, "float32", 130, 70))
    [half], [wide] = (packed_products(a, (matrix,), dtype) for dtype in ("bfloat16", "float32"))
    assert np.array_equal(half, wide.astype(jnp.bfloat16))


def test_columns_of_a_packed_matrix_are_found() -> None:
    numbers = jnp.asarray([[0, 33], [69, 32]])
    for matrix in (draw(1, "float32", 70, 33), draw(1, "bfloat16", 70, 33)):
        assert np.array_equal(pack(matrix, -2).column(numbers), matrix[numbers])
    values, scales = whole(2, 33, 70)
    assert np.array_equal(packed(values, scales).column(numbers), (values * scales).T[numbers])
    assert packed(values, scales).shape == values.shape
