"""Tests the norms of the kernels against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.native.library import kernels
from palmetto.native.pointwise import normalize

pytestmark = [
    pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason),
    pytest.mark.optimized,
]

ERROR = {"float32": 4e-6, "bfloat16": 2**-8}
EPSILON = 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("centred", [True, False])
@settings(max_examples=8)
@given(
    batch=st.sampled_from([(), (0,), (3,), (2, 70)]),
    columns=st.sampled_from([1, 2, 15, 16, 17, 33, 64, 100, 384, 1000]),
    shift=st.sampled_from([0.0, 3.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_norms_and_derivatives_are_those_of_float64(
    dtype: str, centred: bool, batch: tuple[int, ...], columns: int, shift: float, scale: float
) -> None:
    random = np.random.default_rng(columns)
    x = jnp.asarray((random.standard_normal((*batch, columns)) + shift) * scale, dtype)
    d = jnp.asarray(random.standard_normal((*batch, columns)), dtype)
    y, derivative = jax.vjp(lambda x: normalize(x, centred, EPSILON), x)
    (dx,) = derivative(d)

    exact, exact_d = np.asarray(x, np.float64), np.asarray(d, np.float64)
    center = exact.mean(-1, keepdims=True) if centred else np.zeros(())
    exact = exact - center
    factor = 1 / np.sqrt(np.mean(exact**2, axis=-1, keepdims=True) + EPSILON)
    rounded = 2.0**-23 * np.abs(center) * factor  # the mean is a float32; two values that are near show its rounding
    exact = exact * factor
    mean = exact_d.mean(-1, keepdims=True) if centred else 0
    exact_dx = factor * (exact_d - mean - exact * np.mean(exact_d * exact, axis=-1, keepdims=True))
    magnitude = 10 if columns == 2 and centred else 1  # two values, centred, are ±1: all of d cancels
    for found, wanted, least, shifted in (
        (y, exact, 1, rounded),
        (dx, exact_dx, factor * magnitude, rounded * factor * 8),
    ):
        assert found.dtype == dtype
        allowed = ERROR[dtype] * (np.abs(wanted) + 4 * least) + shifted
        assert np.all(np.abs(np.asarray(found, np.float64) - wanted) <= allowed)


def test_a_nan_stays_in_its_row() -> None:
    x = jnp.ones((3, 40)).at[1, 7].set(jnp.nan) * jnp.arange(40)
    y = np.asarray(normalize(x, True, EPSILON))
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()
