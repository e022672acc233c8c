"""Tests that the kernels take queries, keys and values apart and turn them as the model does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.model.positions.rotary import RotaryPositions
from palmetto.native.library import kernels
from palmetto.native.pointwise import turn_apart

pytestmark = pytest.mark.skipif(not kernels().instruction_set, reason=kernels().reason)

Arrays = tuple[jax.Array, jax.Array, jax.Array]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@settings(max_examples=8)
@given(
    batch=st.sampled_from([1, 3]),
    length=st.sampled_from([1, 5, 70]),
    heads=st.sampled_from([1, 4]),
    shared=st.sampled_from([1, 2]),
    size=st.sampled_from([2, 6, 32, 40, 64]),
    of_each=st.booleans(),
)
def test_they_are_turned_as_by_plain_arithmetic(
    dtype: str, batch: int, length: int, heads: int, shared: int, size: int, of_each: bool
) -> None:
    random = np.random.default_rng(size)
    shape = (batch, length, heads + 2 * shared, size)
    together = jnp.asarray(random.standard_normal(shape), dtype)
    positions = random.integers(0, 100, (batch, length) if of_each else (length,))
    angles = RotaryPositions().angles(jnp.asarray(positions), size)

    def by_kernel(x: jax.Array) -> Arrays:
        return turn_apart(x, (angles.cosines, angles.sines), heads)

    def plainly(x: jax.Array) -> Arrays:
        q, k, v = jnp.split(x, [heads, heads + shared], axis=2)
        return angles(q), angles(k), v

    @jax.jit
    def both(x: jax.Array, d: Arrays) -> tuple[list[jax.Array], list[jax.Array]]:
        (found, derivative), (wanted, plain_derivative) = jax.vjp(by_kernel, x), jax.vjp(plainly, x)
        return [*found, *derivative(d)], [*wanted, *plain_derivative(d)]

    shapes = [(*shape[:2], count, size) for count in (heads, shared, shared)]
    q, k, v = (jnp.asarray(random.standard_normal(each), dtype) for each in shapes)
    found, wanted = both(together, (q, k, v))
    largest = 4e-7 if dtype == "float32" else 2**-7
    for ours, plain in zip(found, wanted, strict=True):
        assert ours.shape == plain.shape
        assert ours.dtype == plain.dtype
        difference = np.abs(np.asarray(ours, np.float64) - np.asarray(plain, np.float64))
        assert np.all(difference <= largest * 4)
    assert np.array_equal(found[2], wanted[2])
