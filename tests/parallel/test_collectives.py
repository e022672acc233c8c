"""Tests that sums across devices have the bits of the explicit tree, for any number of devices."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from palmetto.parallel.collectives import (
    Group,
    all_reduce,
    gather,
    gathered,
    own_part,
    reduce_scatter,
    reversed_bits,
    shared,
)

SIZES = (1, 2, 4, 8)
Array = np.ndarray


def on_devices(function: Callable[..., Any], size: int, out: Any) -> Callable[..., Any]:
    """Returns `function` mapped over `size` devices along the leading axis of its arguments."""
    mesh = Mesh(np.array(jax.devices()[:size]), ("data",))
    each = PartitionSpec("data")
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=each, out_specs=out, check_vma=False))


def terms(n: int, width: int = 64) -> Array:
    """Returns float32 [n, width] of such different magnitudes that the order of a sum affects its bits."""
    random = np.random.default_rng(n)
    return (random.normal(size=(n, width)) * 10.0 ** random.integers(-3, 4, size=(n, width))).astype(np.float32)


def tree_sum(leaves: Array) -> Array:
    """Returns ((0+1)+(2+3))+… in float32, computed explicitly."""
    half = len(leaves) // 2
    return leaves[0] if len(leaves) == 1 else tree_sum(leaves[:half]) + tree_sum(leaves[half:])


@pytest.mark.parametrize("n", SIZES)
def test_reversed_bits_are_their_own_inverse(n: int) -> None:
    order = reversed_bits(n)
    assert [order[i] for i in order] == list(range(n))
    digits = n.bit_length() - 1
    assert all(format(i, f"0{digits}b")[::-1] == format(p, f"0{digits}b") for i, p in enumerate(order) if digits)


def test_reversed_bits_require_a_power_of_two() -> None:
    with pytest.raises(AssertionError):
        reversed_bits(6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [64, 61])
def test_all_reduce_has_the_bits_of_the_tree(size: int, width: int) -> None:
    leaves, factor = terms(size, width), np.float32(1.1)
    group = Group("data", size, elastic=True)
    # A leaf ends with a product: fused with the sum it would give other bits.
    total = on_devices(lambda x: all_reduce(x[0] * factor, group), size, PartitionSpec())(leaves[reversed_bits(size)])
    assert np.array_equal(total, tree_sum(leaves * factor))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dimension", [0, 1])
def test_reduce_scatter_has_the_bits_of_the_tree(size: int, dimension: int) -> None:
    leaves, factor = terms(size, 8 * 16).reshape(size, 8, 16), np.float32(1.1)
    group = Group("data", size, elastic=True)
    out = PartitionSpec(*[None] * dimension, "data")
    scatter = on_devices(lambda x: reduce_scatter(x[0] * factor, dimension, group), size, out)
    assert np.array_equal(scatter(leaves[reversed_bits(size)]), tree_sum(leaves * factor))


@pytest.mark.parametrize("size", SIZES)
def test_the_platforms_own_collectives_agree_to_rounding(size: int) -> None:
    leaves = terms(size)
    group = Group("data", size, elastic=False)
    total = on_devices(lambda x: all_reduce(x[0], group), size, PartitionSpec())(leaves)
    parts = on_devices(lambda x: reduce_scatter(x[0], 0, group), size, PartitionSpec("data"))(leaves)
    exact = leaves.sum(0, dtype=np.float64)
    for found in (total, parts):
        assert np.allclose(found, exact, rtol=1e-5, atol=1e-6 * np.abs(leaves).sum(0).max())


@pytest.mark.parametrize("size", SIZES)
def test_own_part_is_the_inverse_of_gather(size: int) -> None:
    group, whole = Group("data", size, elastic=True), terms(16, 24)
    there_and_back = on_devices(lambda x: own_part(gather(x, 0, group), 0, group), size, PartitionSpec("data"))
    assert np.array_equal(there_and_back(whole), whole)


@pytest.mark.parametrize("size", SIZES)
def test_gathered_weights_scatter_gradients_and_shared_weights_reduce_them(size: int) -> None:
    group, inputs, weight = Group("data", size, elastic=True), terms(size, 16), terms(16, 4)

    def gradients(x: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss = lambda part, scale: jnp.sum((x[0] * scale) @ gathered(part, 0, group))  # noqa: E731
        scale = jnp.float32(1)
        return jax.grad(lambda p, s: loss(p, shared(s, group)), (0, 1))(part, scale)

    out = (PartitionSpec("data"), PartitionSpec())
    d_weight, d_scale = on_devices(gradients, size, out)(inputs[reversed_bits(size)], weight)
    assert np.array_equal(d_weight, np.broadcast_to(tree_sum(inputs)[:, None], weight.shape))
    assert np.allclose(d_scale, inputs.sum(0, dtype=np.float64) @ weight.sum(1, dtype=np.float64), rtol=1e-4)


def test_a_weight_is_sent_rounded_but_its_gradient_is_not() -> None:
    group, weight = Group("data", 2, elastic=True), terms(16, 4)

    def both(part: jax.Array) -> tuple[jax.Array, jax.Array]:
        pull = jax.vjp(lambda part: gathered(part, 0, group, "bfloat16"), part)
        return pull[0], pull[1](jnp.full((16, 4), 1 + 2**-20, jnp.float32))[0]

    whole, gradient = on_devices(both, 2, (PartitionSpec(), PartitionSpec("data")))(weight)
    assert whole.dtype == jnp.float32
    assert np.array_equal(whole, weight.astype(jnp.bfloat16).astype(np.float32))
    assert np.array_equal(gradient, np.full((16, 4), 2 + 2**-19, np.float32))
