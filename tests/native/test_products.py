"""Tests the matrix products of the kernels against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.native.library import kernels
from palmetto.native.products import product

pytestmark = pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)

SIZES = st.sampled_from([0, 1, 2, 3, 17, 31, 32, 33, 65, 96, 100, 130, 300, 511, 512, 513, 1100])


def close(result: jax.Array, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    """Returns whether a result is a·b within float32 sums and one rounding to its type."""
    exact, magnitude = a @ b, np.abs(a) @ np.abs(b)
    rounding = 2**-8 if result.dtype == jnp.bfloat16 else 2**-23
    error = np.abs(np.asarray(result, np.float64) - exact)
    return bool(np.all(error <= magnitude * 2**-23 * max(a.shape[-1], 1) ** 0.5 * 4 + np.abs(exact) * rounding))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("out", ["float32", "bfloat16"])
@settings(max_examples=40)
@given(
    sizes=st.tuples(SIZES, SIZES, SIZES),
    batch=st.sampled_from([(), (1,), (3,), (2, 2)]),
    a_transposed=st.booleans(),
    b_transposed=st.booleans(),
)
def test_products_of_any_shape_are_those_of_float64(
    dtype: str, out: str, sizes: tuple[int, int, int], batch: tuple[int, ...], a_transposed: bool, b_transposed: bool
) -> None:
    rows, depth, columns = sizes
    random = np.random.default_rng(sum(sizes))
    a = jnp.asarray(random.standard_normal((*batch, *((depth, rows) if a_transposed else (rows, depth)))), dtype)
    b = jnp.asarray(random.standard_normal((*batch, *((columns, depth) if b_transposed else (depth, columns)))), dtype)
    result = product([(a, b)], out, a_transposed=a_transposed, b_transposed=b_transposed)
    assert result.shape == (*batch, rows, columns)
    left, right = (
        np.asarray(x.mT if turned else x, np.float64) for x, turned in ((a, a_transposed), (b, b_transposed))
    )
    assert close(result, left, right)
