"""Tests the kernels of values and rows against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.native import pointwise
from tests.native.conftest import Choose
from tests.native.test_products import Exact, draw, exact

ROUNDING = {"float32": 2e-6, "bfloat16": 2**-8}


def is_close(result: jax.Array, expected: Exact) -> bool:
    return np.allclose(exact(result), expected, rtol=ROUNDING[str(result.dtype)], atol=1e-6)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 511, 70_001])
def test_swiglu_and_its_gradients_are_those_of_float64(instruction_set: str, dtype: str, size: int) -> None:
    gate, up, d = 5 * draw(1, dtype, size), draw(2, dtype, size), draw(3, dtype, size)
    g, u, e = exact(gate), exact(up), exact(d)
    sigmoid = 1 / (1 + np.exp(-g))
    assert is_close(pointwise.swiglu(gate, up), g * sigmoid * u)
    dgate, dup = pointwise.swiglu_gradients(gate, up, d)
    assert is_close(dgate, e * u * sigmoid * (1 + g * (1 - sigmoid)))
    assert is_close(dup, e * g * sigmoid)


def test_swiglu_of_large_values_and_not_a_number(instruction_set: str) -> None:
    values = pointwise.swiglu(jnp.asarray([jnp.nan, jnp.inf, 1e4, -1e4, 0.0]), jnp.ones(5))
    assert np.isnan(values[0])
    assert np.array_equal(values[1:3], [np.inf, 1e4])
    assert np.allclose(values[3:], 0)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 16), (65, 301), (5, 8192)])
def test_cross_entropy_and_its_gradient_are_those_of_float64(
    instruction_set: str, dtype: str, shape: tuple[int, int]
) -> None:
    scores, weights = 4 * draw(1, "float32", *shape), jnp.abs(draw(2, "float32", shape[0])).at[0].set(0)
    targets = jnp.asarray(np.random.default_rng(3).integers(0, shape[1], shape[0]), jnp.int32)
    found = pointwise.cross_entropy(scores, targets, weights, 1e-2, jnp.dtype(dtype))
    s, w, rows = exact(scores), exact(weights), np.arange(shape[0])
    log_z = np.log(np.sum(np.exp(s), axis=1))
    gradient = np.exp(s - log_z[:, None]) * (1 + 2e-2 * log_z[:, None])
    gradient[rows, targets] -= 1
    assert is_close(found.gradient, gradient * w[:, None])
    assert is_close(found.losses, (log_z - s[rows, targets]) * w)
    assert is_close(found.squares, log_z**2 * w)
    assert is_close(pointwise.log_sum(scores), log_z)


def test_large_scores_do_not_overflow_and_not_a_number_stays(instruction_set: str) -> None:
    scores = jnp.zeros((3, 20)).at[0, 3].set(1e30).at[1, 4].set(jnp.nan).at[2].set(-1e30)
    targets, weights = jnp.asarray([3, 0, 0], jnp.int32), jnp.ones(3)
    found = pointwise.cross_entropy(scores, targets, weights, 0.0, jnp.float32)
    assert np.isfinite(found.losses[0])
    assert np.isnan(found.losses[1])
    assert np.all(np.isnan(found.gradient[1]))
    assert np.all(np.isfinite(found.gradient[::2]))
    assert np.isnan(pointwise.log_sum(scores)).tolist() == [False, True, False]


@pytest.mark.parametrize("target", [-1, 20, 500_000_000])
def test_a_target_that_is_no_token_gives_not_a_number(instruction_set: str, target: int) -> None:
    targets = jnp.asarray([0, target, 1], jnp.int32)
    found = pointwise.cross_entropy(jnp.zeros((3, 20)), targets, jnp.ones(3), 0.0, jnp.float32)
    assert np.isnan(found.losses).tolist() == [False, True, False]


def test_the_gradient_is_finite_where_z_loss_cancels_the_softmax(instruction_set: str) -> None:
    """The derivative of the softmax's part is 1 + 2 · z_loss · log Z, here 0."""
    scores = jnp.full((1, 16), -50.0) - jnp.log(16.0)
    found = pointwise.cross_entropy(scores, jnp.zeros(1, jnp.int32), jnp.ones(1), 1e-2, jnp.float32)
    assert np.allclose(found.gradient, -np.eye(1, 16), atol=1e-6)


def test_values_have_the_bits_of_avx2_and_one_thread_everywhere(choose: Choose) -> None:
    gate, up, scores = draw(1, "float32", 100_000), draw(2, "float32", 100_000), draw(3, "float32", 300, 999)
    targets, weights = jnp.zeros(300, jnp.int32), jnp.ones(300)
    choose("avx2", 1)
    inner = np.asarray(pointwise.swiglu(gate, up))
    gradient = np.asarray(pointwise.cross_entropy(scores, targets, weights, 0.0, jnp.float32).gradient)
    for name, threads in (("avx2", 8), ("avx512", 2)):
        choose(name, threads)
        assert np.array_equal(inner, pointwise.swiglu(gate, up))
        assert np.array_equal(gradient, pointwise.cross_entropy(scores, targets, weights, 0.0, jnp.float32).gradient)


def test_the_largest_is_where_argmax_says(instruction_set: str) -> None:
    scores = draw(4, "float32", 12, 1000)
    scores = scores.at[0].set(-jnp.inf).at[1, 7].set(jnp.nan).at[1, 3].set(jnp.inf).at[2, 500:].set(9.0)
    scores = scores.at[3].set(-1.0).at[3, 900].set(0.0).at[3, 300].set(-0.0).at[4, 255:258].set(8.0)
    for columns in (1, 16, 255, 256, 257, 1000):
        assert np.array_equal(pointwise.largest(scores[:, :columns]), jnp.argmax(scores[:, :columns], axis=1))
