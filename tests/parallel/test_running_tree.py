"""Tests that a sum whose leaves arrive one by one has the bits of the explicit tree."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.parallel import running_tree
from palmetto.training.step.reductions import sum_over_leaves
from tests.training.step.test_reductions import COLUMNS, same_bits, terms


@functools.partial(jax.jit, static_argnums=2)
def summed(leaves: jax.Array, numbers: jax.Array, count: int, factor: float = 1.0) -> Any:
    """Returns the sum of factor · leaves over the leaves with a nonnegative number."""

    def add(levels: Any, turn: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        number, leaf = turn
        return running_tree.add_leaf(levels, number, {"leaf": factor * leaf, "all": jnp.sum(leaf)}), None

    empty = running_tree.no_leaves({"leaf": leaves[0], "all": jnp.zeros(())}, count)
    levels, _ = jax.lax.scan(add, empty, (numbers, leaves))
    return running_tree.total(levels, count)


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_the_sum_has_the_bits_of_the_tree(count: int) -> None:
    leaves, factor = jnp.asarray(terms(count)), jnp.float32(0.7)
    expected = jax.jit(lambda leaves: sum_over_leaves(lambda leaf: factor * leaf, leaves))(leaves)
    assert same_bits(summed(leaves, jnp.arange(count), count, factor)["leaf"], expected)


def test_a_negative_number_changes_nothing() -> None:
    leaves = jnp.asarray(terms(8))
    idle = jnp.full((3, COLUMNS), jnp.nan)
    mixed = jnp.concatenate([idle[:1], leaves[:3], idle[1:], leaves[3:]])
    numbers = jnp.array([-1, 0, 1, 2, -1, -1, 3, 4, 5, 6, 7])
    one, other = summed(mixed, numbers, 8), summed(leaves, jnp.arange(8), 8)
    assert all(same_bits(one[name], other[name]) for name in one)


@pytest.mark.parametrize("count", [3, 6, 7])
def test_any_number_of_leaves_is_summed(count: int) -> None:
    leaves = terms(count)
    total = summed(jnp.asarray(leaves), jnp.arange(count), count)["leaf"]
    assert np.allclose(total, leaves.astype(np.float64).sum(0), rtol=1e-5, atol=1e-3)
