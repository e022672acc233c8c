"""Tests the matrix products of the kernels against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.native.products import product
from tests.native.conftest import SETS, Choose

SIZES = st.sampled_from([0, 1, 2, 3, 17, 31, 32, 33, 65, 96, 100, 130, 300, 511, 512, 513, 1100])
BATCHES = st.sampled_from([(), (1,), (3,), (2, 2)])

Exact = npt.NDArray[np.float64]


def draw(seed: int, dtype: str, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def exact(array: jax.Array) -> Exact:
    return np.asarray(array, np.float64)


def is_close(result: jax.Array, a: Exact, b: Exact) -> bool:
    """Returns whether a result is a·b but for float32 sums and one rounding to its type."""
    sums = np.abs(a) @ np.abs(b) * 2**-22 * max(a.shape[-1], 1) ** 0.5
    rounding = np.abs(a @ b) * (2**-8 if result.dtype == jnp.bfloat16 else 2**-23)
    return bool(np.all(np.abs(exact(result) - a @ b) <= sums + rounding))


@pytest.mark.parametrize(("dtype", "out"), [("float32", "float32"), ("bfloat16", "float32"), ("bfloat16", "bfloat16")])
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.tuples(SIZES, SIZES, SIZES), batch=BATCHES, turned=st.tuples(st.booleans(), st.booleans()))
def test_products_of_any_shape_are_those_of_float64(
    instruction_set: str,
    dtype: str,
    out: str,
    sizes: tuple[int, int, int],
    batch: tuple[int, ...],
    turned: tuple[bool, bool],
) -> None:
    rows, depth, columns = sizes
    a, b = draw(1, dtype, *batch, rows, depth), draw(2, dtype, *batch, depth, columns)
    pair = (a.mT if turned[0] else a, b.mT if turned[1] else b)
    result = product([pair], out, a_transposed=turned[0], b_transposed=turned[1])
    assert result.shape == (*batch, rows, columns)
    assert result.dtype == out
    assert is_close(result, exact(a), exact(b))


def test_pairs_are_summed_before_they_are_rounded(instruction_set: str) -> None:
    pairs = [(draw(i, "bfloat16", 50, depth), draw(9 * i, "bfloat16", depth, 70)) for i, depth in ((1, 40), (2, 700))]
    a, b = np.concatenate([exact(a) for a, _ in pairs], axis=1), np.concatenate([exact(b) for _, b in pairs])
    assert is_close(product(pairs, jnp.bfloat16), a, b)


def test_float32_kernels_count_as_rounded_to_bfloat16(instruction_set: str) -> None:
    a, b = draw(1, "bfloat16", 40, 130), draw(2, "float32", 130, 50)
    b = b.at[0, 0].set(1 + 2**-8).at[1, 0].set(1 + 3 * 2**-8).at[2, 0].set(jnp.inf).at[3, 1].set(jnp.nan)
    for turned in (False, True):
        wide, narrow = (
            product([(a, kernel.mT if turned else kernel)], "float32", b_transposed=turned)
            for kernel in (b, b.astype(a.dtype))
        )
        assert np.array_equal(wide, narrow, equal_nan=True)


def test_not_a_number_and_infinity_reach_what_they_belong_to(instruction_set: str) -> None:
    for dtype in ("float32", "bfloat16"):
        a, b = jnp.ones((40, 40), dtype), jnp.ones((40, 40), dtype)
        result = product([(a.at[3, 5].set(jnp.nan).at[4, 6].set(jnp.inf), b.at[7, 9].set(-jnp.inf))], dtype)
        assert np.all(np.isnan(result[3]))
        assert np.isnan(result[4, 9])
        assert np.all(np.isposinf(result[4, :9]))
        assert np.all(np.isneginf(result[5:, 9]))
        assert np.all(result[5:, :9] == 40)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bits_depend_neither_on_threads_nor_on_other_rows(choose: Choose, name: str, dtype: str) -> None:
    a, b = draw(1, dtype, 700, 1300), draw(2, dtype, 1300, 500)
    for turned in (False, True):
        results = []
        for threads in (1, 2, 8):
            choose(name, threads)
            results.append(np.asarray(product([(a.mT if turned else a, b)], dtype, a_transposed=turned)))
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(results[0], results[2])
        some = a[33:75]
        part = product([(some.mT if turned else some, b[:, 5:90])], dtype, a_transposed=turned)
        assert np.array_equal(results[0][33:75, 5:90], part)


def test_float32_has_the_bits_of_avx2_everywhere(choose: Choose) -> None:
    a, b = draw(1, "float32", 70, 900), draw(2, "float32", 900, 130)
    choose("avx2", 2)
    expected = np.asarray(product([(a, b)], "float32"))
    for name in ("avx512", "avx512_bf16", "amx"):
        choose(name, 2)
        assert np.array_equal(expected, product([(a, b)], "float32"))


def test_products_are_batched_and_looped_over(instruction_set: str) -> None:
    a, b = draw(1, "bfloat16", 3, 40, 50), draw(2, "bfloat16", 3, 50, 60)

    def one(a: jax.Array, b: jax.Array) -> jax.Array:
        return product([(a, b)], "float32")

    whole = product([(a, b)], "float32")
    assert np.array_equal(whole, jax.vmap(one)(a, b))
    assert np.array_equal(whole, jax.lax.map(lambda pair: one(*pair), (a, b)))
