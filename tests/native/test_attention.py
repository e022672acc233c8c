"""Tests the attention of the kernels against float64."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.native.attention import fused_attention
from tests.native.conftest import Choose

Arrays = tuple[npt.NDArray[np.float64], ...]
Shape = tuple[int, int, int, int, int]

DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
ERROR = {"float32": 5e-6, "bfloat16": 1e-2}
"""The largest error of a result, as a part of its largest element or of the scale of products of a head."""


def operands(shape: Shape, dtype: str, scale: float = 1.0) -> list[jax.Array]:
    """Returns q, k, v and the derivative with respect to the output, for a shape [B, T, K, G, Q]."""
    random = np.random.default_rng(sum(shape))
    shapes = (shape, (*shape[:3], shape[4]), (*shape[:3], shape[4]), shape)
    q, k, v, d = (jnp.asarray(random.standard_normal(each), dtype) for each in shapes)
    return [(q * scale / shape[4] ** 0.5).astype(dtype), k, v, d]


@jax.jit
def results(
    q: jax.Array, k: jax.Array, v: jax.Array, d: jax.Array, first: jax.Array | None = None
) -> tuple[jax.Array, ...]:
    """Returns the output and the derivatives with respect to q, k and v."""
    output, derivative = jax.vjp(lambda q, k, v: fused_attention(q, k, v, first), q, k, v)
    return output, *derivative(d)


def reference(*arrays: jax.Array, first: npt.NDArray[np.int32] | None = None) -> Arrays:
    """Returns what `results` does, in float64 and by the plain formulas."""
    q, k, v, d = (np.asarray(array, np.float64) for array in arrays)
    scores = np.einsum("btkgq,bskq->bkgts", q, k)
    seen = np.tril(np.ones(scores.shape[-2:], bool))
    if first is not None:
        seen = seen & (np.arange(seen.shape[-1]) >= first[:, None, None, :, None])
    masked = np.where(seen, scores, -np.inf)
    e = np.exp(masked - masked.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    dp = np.einsum("btkgq,bskq->bkgts", d, v)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    return (
        np.einsum("bkgts,bskq->btkgq", p, v),
        np.einsum("bkgts,bskq->btkgq", ds, k),
        np.einsum("bkgts,btkgq->bskq", ds, q),
        np.einsum("bkgts,btkgq->bskq", p, d),
    )


def bits(arrays: tuple[jax.Array, ...]) -> list[bytes]:
    return [np.asarray(array).tobytes() for array in arrays]


@DTYPES
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(0, 3),
    length=st.sampled_from([1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 127, 130, 255, 257, 300, 511, 513]),
    heads=st.integers(1, 2),
    group=st.integers(1, 6),
    size=st.sampled_from([16, 24, 32, 40, 64, 72, 128, 256]),
)
def test_attention_of_any_shape_is_that_of_float64(
    instruction_set: str, dtype: str, batch: int, length: int, heads: int, group: int, size: int
) -> None:
    given_arrays = operands((batch, length, heads, group, size), dtype)
    for name, found, exact in zip(
        ("o", "dq", "dk", "dv"), results(*given_arrays), reference(*given_arrays), strict=True
    ):
        assert found.shape == exact.shape
        error = np.abs(np.asarray(found, np.float64) - exact).max(initial=0)
        assert error <= ERROR[dtype] * max(np.abs(exact).max(initial=0), size**0.5), name


def firsts(kind: str, batch: int, length: int) -> npt.NDArray[np.int32]:
    """Returns the first positions that are seen: of examples that lie side by side, of a window, or of both."""
    random, places = np.random.default_rng(length), np.arange(length)
    begins = random.random((batch, length)) < 0.02
    starts = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    window = np.maximum(places - random.integers(1, length + 1) + 1, 0)
    chosen = {"examples": starts, "window": np.broadcast_to(window, starts.shape), "both": np.maximum(starts, window)}
    return chosen[kind].astype(np.int32)


@DTYPES
@pytest.mark.parametrize("kind", ["examples", "window", "both"])
@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.sampled_from([1, 2, 31, 65, 130, 257, 300, 513, 700]),
    heads=st.integers(1, 2),
    group=st.integers(1, 6),
    size=st.sampled_from([16, 40, 64, 128]),
)
def test_what_lies_before_the_first_seen_position_is_hidden(
    instruction_set: str, dtype: str, kind: str, length: int, heads: int, group: int, size: int
) -> None:
    given_arrays, first = operands((2, length, heads, group, size), dtype), firsts(kind, 2, length)
    exact = reference(*given_arrays, first=first)
    for name, found, wanted in zip(("o", "dq", "dk", "dv"), results(*given_arrays, first), exact, strict=True):
        error = np.abs(np.asarray(found, np.float64) - wanted).max()
        # Where few keys are seen, dq and dk are small differences of large numbers, whose roundings stay.
        least = (2 if name in ("dq", "dk") else 1) * size**0.5
        assert error <= ERROR[dtype] * max(np.abs(wanted).max(), least), name


@DTYPES
def test_all_see_the_first_position_by_default(instruction_set: str, dtype: str) -> None:
    given_arrays = operands((2, 300, 1, 3, 64), dtype)
    assert bits(results(*given_arrays)) == bits(results(*given_arrays, jnp.zeros((2, 300), jnp.int32)))


@DTYPES
def test_large_scores_do_not_overflow(instruction_set: str, dtype: str) -> None:
    given_arrays = operands((2, 300, 1, 3, 64), dtype, scale=300.0)
    found, exact = results(*given_arrays), reference(*given_arrays)
    assert all(np.isfinite(np.asarray(array, np.float64)).all() for array in found)
    error = np.abs(np.asarray(found[0], np.float64) - exact[0]).max()
    assert error <= 40 * ERROR[dtype] * np.abs(exact[0]).max()  # float32 scores of 1000 are exact to 2⁻¹⁴


@DTYPES
@pytest.mark.parametrize("number", range(3))
def test_a_nan_reaches_the_queries_that_see_it(instruction_set: str, dtype: str, number: int) -> None:
    given_arrays = operands((1, 200, 1, 2, 32), dtype)
    given_arrays[number] = given_arrays[number].at[0, 70].set(jnp.nan)
    output, dq, dk, dv = results(*given_arrays)
    assert np.isnan(np.asarray(output[0, 70 if number == 0 else slice(70, None)], np.float32)).all()
    assert not np.isnan(np.asarray(output[0, :64], np.float32)).any()
    assert all(np.isnan(np.asarray(array, np.float32)).any() for array in (dq, dk, *([dv] if number < 2 else [])))


@DTYPES
def test_the_bits_of_a_sequence_are_its_own(instruction_set: str, dtype: str) -> None:
    given_arrays = operands((8, 300, 1, 6, 64), dtype)
    together = results(*given_arrays)
    for count in (1, 3, 5):
        assert bits(results(*(array[:count] for array in given_arrays))) == bits(
            tuple(array[:count] for array in together)
        )
    assert bits(jax.vmap(results)(*(array[:, None] for array in given_arrays))) == bits(together)


@DTYPES
@pytest.mark.parametrize("shape", [(1, 400, 1, 4, 64), (3, 130, 2, 3, 32), (1, 700, 1, 1, 40)])
def test_the_bits_are_those_of_any_number_of_threads(
    instruction_set: str, choose: Choose, dtype: str, shape: Shape
) -> None:
    found = []
    for threads in (1, 2, 8):
        choose(instruction_set, threads)
        found.append(bits(results(*operands(shape, dtype))))
    assert found[0] == found[1] == found[2]


@DTYPES
def test_the_future_does_not_change_the_past(instruction_set: str, dtype: str) -> None:
    q, k, v, _ = operands((1, 300, 1, 2, 64), dtype)
    before = fused_attention(q, k, v)[:, :201]
    assert bits((fused_attention(q[:, :201], k[:, :201], v[:, :201]),)) == bits((before,))


@pytest.mark.parametrize("wrap", [jax.checkpoint, jax.jit])
def test_attention_is_a_part_of_larger_programs(
    instruction_set: str, wrap: Callable[..., Callable[..., jax.Array]]
) -> None:
    q, k, v, d = operands((2, 70, 1, 2, 32), "float32")

    def layers(x: jax.Array) -> jax.Array:
        def layer(x: jax.Array, _: None) -> tuple[jax.Array, None]:
            return wrap(lambda x: fused_attention(x, k, v))(x), None

        return jax.lax.scan(layer, x, None, length=2)[0]

    output, derivative = jax.vjp(layers, q)
    first, (again, *_) = fused_attention(q, k, v), results(fused_attention(q, k, v), k, v, d)
    assert bits((output,)) == bits((again,))
    exact = results(q, k, v, results(first, k, v, d)[1])[1]
    assert bits(derivative(d)) == bits((exact,))


def test_float32_has_the_same_bits_in_avx2_and_avx512(choose: Choose) -> None:
    found = []
    for name in ("avx2", "avx512"):
        choose(name, 2)
        found.append(bits(results(*operands((2, 200, 1, 3, 40), "float32"))))
    assert found[0] == found[1]
