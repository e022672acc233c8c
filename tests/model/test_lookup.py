"""Compares embedding lookup and its gradient with NumPy in float64."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.model.lookup import lookup, sum_alike
from tests.references.quickly import QUICKLY


def summed(rows: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    result = np.zeros((count, rows.shape[1]))
    np.add.at(result, numbers, rows.astype(np.float64))
    return result


def test_rows_and_their_gradient_agree_with_numpy() -> None:
    random = np.random.default_rng(0)
    table, d = random.standard_normal((7, 5), np.float32), random.standard_normal((3, 4, 5), np.float32)
    numbers = random.integers(0, 7, (3, 4), dtype=np.int32)
    found, pull = jax.vjp(lambda table: lookup(table, numbers), jnp.asarray(table))
    np.testing.assert_array_equal(found, table[numbers])
    np.testing.assert_allclose(pull(jnp.asarray(d))[0], summed(d.reshape(-1, 5), numbers.reshape(-1), 7), atol=1e-6)


added_up = jax.jit(sum_alike, static_argnums=2, compiler_options=QUICKLY)


@given(st.sampled_from([1, 2, 13, 32]).flatmap(lambda n: st.lists(st.integers(0, 9), min_size=n, max_size=n)))
def test_rows_that_share_a_number_are_summed(numbers: list[int]) -> None:
    """The values are integers, so that no order of summation rounds."""
    rows = np.random.default_rng(sum(numbers)).integers(-99, 99, (len(numbers), 3)).astype(np.float32)
    result = added_up(rows, np.array(numbers, np.int32), 10)
    np.testing.assert_array_equal(result, summed(rows, np.array(numbers), 10))


def test_sums_keep_the_precision_of_float32() -> None:
    """A number that most tokens share is summed by a tree, not by a running sum."""
    random = np.random.default_rng(1)
    rows, numbers = random.standard_normal((4096, 2), np.float32), random.integers(0, 3, 4096) // 2
    result = added_up(rows, numbers.astype(np.int32), 2)
    np.testing.assert_allclose(result, summed(rows, numbers, 2), rtol=1e-5)


def test_gpu_gradients_scatter_to_unique_indices() -> None:
    """A scatter with colliding indices would have undefined order, or cost a sort of all elements."""

    def gradient(table: jax.Array, numbers: jax.Array, d: jax.Array) -> jax.Array:
        pulled: jax.Array = jax.vjp(lambda table: lookup(table, numbers), table)[1](d)[0]
        return pulled

    traced = jax.jit(gradient).trace(np.zeros((7, 5), np.float32), np.zeros(9, np.int32), np.zeros((9, 5), np.float32))
    for platform, unique in (("cuda", True), ("rocm", True), ("cpu", False)):
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.sort" in program) == unique
        assert set(re.findall(r"unique_indices = (\w+)", program)) == {str(unique).lower()}
