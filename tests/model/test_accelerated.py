"""Compares the platforms' kernels with float64 attention, on their accelerator or interpreted on a CPU."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from jax.typing import DTypeLike

from palmetto.model.accelerated import Flash, choose, cudnn_attention, cudnn_takes, splash_attention, splash_takes

Float64 = npt.NDArray[np.float64]


def arrays(length: int, groups: int, heads: int = 2, size: int = 8) -> tuple[Float64, ...]:
    """Returns q [2, T, H, Q], k and v [2, T, K, Q], and the cotangent of the output."""
    random = np.random.default_rng(groups)
    q, d = random.standard_normal((2, 2, length, heads, size))
    k, v = random.standard_normal((2, 2, length, groups, size))
    return q, k, v, d


def dense(window: int | None, q: Float64, k: Float64, v: Float64, d: Float64) -> tuple[Float64, ...]:
    """Returns the output and the gradients of Σ d·output for q, k and v, with keys repeated for each group."""
    length, shared = q.shape[1], q.shape[2] // k.shape[2]
    keys, values = np.repeat(k, shared, axis=2), np.repeat(v, shared, axis=2)
    distance = np.subtract.outer(np.arange(length), np.arange(length))
    mask = (distance >= 0) & (distance < (window or length))
    scores = np.where(mask, np.einsum("bthq,bshq->bhts", q, keys), -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    dp = np.einsum("bthq,bshq->bhts", d, values)
    ds = p * (dp - np.sum(p * dp, axis=-1, keepdims=True))
    dk, dv = np.einsum("bhts,bthq->bshq", ds, q), np.einsum("bhts,bthq->bshq", p, d)
    dk, dv = (x.reshape(*k.shape[:3], shared, -1).sum(axis=3) for x in (dk, dv))
    return np.einsum("bhts,bshq->bthq", p, values), np.einsum("bhts,bshq->bthq", ds, keys), dk, dv


def assert_same(
    flash: Flash,
    length: int,
    groups: int,
    window: int | None,
    size: int = 8,
    dtype: DTypeLike = jnp.float32,
    tolerance: float = 1e-4,
    distance: float = 1e-5,
) -> None:
    """Asserts that output and gradients agree with float64 for the same rounded inputs, by element and by norm.

    A gradient is compared relative to the output's norm if its own is smaller, since it may be exactly zero.
    """
    q, k, v, d = (jnp.asarray(x, dtype) for x in arrays(length, groups, size=size))

    @jax.jit
    def compute(q: jax.Array, k: jax.Array, v: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
        output, pull = jax.vjp(lambda q, k, v: flash(q, k, v, window), q, k, v)
        return output, *pull(d)

    expected = dense(window, *(np.asarray(x, np.float64) for x in (q, k, v, d)))
    for actual, reference in zip(compute(q, k, v, d), expected, strict=True):
        assert actual.dtype == dtype
        given = np.asarray(actual, np.float64)
        np.testing.assert_allclose(given, reference, rtol=tolerance, atol=tolerance)
        scale = max(np.linalg.norm(reference), np.linalg.norm(expected[0]))
        assert np.linalg.norm(given - reference) < distance * scale


CASES = [(1, None), (2, None), (1, 1), (2, 100), (1, 1000)]
"""Pairs of (number of key/value heads, window)."""
HALF: dict[str, Any] = {"dtype": jnp.bfloat16, "tolerance": 0.2, "distance": 1e-2}


@pytest.mark.parametrize(("groups", "window"), [(1, None), (2, 100), (1, 1000)])
def test_splash_agrees_with_dense_attention_in_the_interpreter(groups: int, window: int | None) -> None:
    """With three blocks of 128, some blocks are seen fully, some partly and some not at all."""
    assert_same(partial(splash_attention, interpret=True), 384, groups, window)


@pytest.mark.parametrize(("groups", "window"), CASES)
def test_cudnn_arguments_agree_with_dense_attention_under_xla(groups: int, window: int | None) -> None:
    assert_same(partial(cudnn_attention, implementation="xla"), 130, groups, window)


@pytest.mark.parametrize(("groups", "window"), CASES)
def test_cudnn_agrees_with_dense_attention(groups: int, window: int | None) -> None:
    if choose("gpu", jnp.bfloat16, 130, 64) is None:
        pytest.skip("no GPU with cuDNN's attention")
    assert_same(cudnn_attention, 130, groups, window, size=64, **HALF)


@pytest.mark.parametrize(("groups", "window"), CASES)
def test_splash_agrees_with_dense_attention(groups: int, window: int | None) -> None:
    if choose("tpu", jnp.bfloat16, 384, 128) is None:
        pytest.skip("no TPU")
    assert_same(splash_attention, 384, groups, window, size=128, **HALF)


def test_cudnn_supports_only_certain_shapes_and_types() -> None:
    assert cudnn_takes(jnp.bfloat16, 130, 128, (8, 0))
    assert cudnn_takes(jnp.float16, 2048, 256, (9, 0))
    assert cudnn_takes("bfloat16", 2, 72, (12, 0))
    assert not cudnn_takes(jnp.float32, 2048, 128, (9, 0))
    assert not cudnn_takes(jnp.bfloat16, 2048, 256, (8, 9))
    assert not cudnn_takes(jnp.bfloat16, 2048, 100, (9, 0))
    assert not cudnn_takes(jnp.bfloat16, 2048, 64, (7, 5))
    assert not cudnn_takes(jnp.bfloat16, 13, 64, (9, 0))


def test_splash_supports_only_certain_shapes_and_types() -> None:
    assert splash_takes(jnp.bfloat16, 1024, 128)
    assert splash_takes("float32", 384, 256)
    assert not splash_takes(jnp.bfloat16, 1000, 128)
    assert not splash_takes(jnp.float16, 1024, 128)
    assert not splash_takes(jnp.bfloat16, 1024, 64)


def test_an_absent_platform_has_no_kernel() -> None:
    here = jax.local_devices()[0].platform
    assert choose("cpu", jnp.bfloat16, 1024, 128) is None
    for platform in {"gpu", "tpu"} - {here}:
        assert choose(platform, jnp.bfloat16, 1024, 128) is None
