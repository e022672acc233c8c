"""Compares blocked attention with a dense float64 softmax, for every mask and for scores with learned parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.model.attentions.full import FullAttention
from palmetto.model.attentions.local import LocalAttention
from palmetto.model.attentions.memory import MemoryAttention
from palmetto.model.attentions.parallel_windows import ParallelWindows
from palmetto.model.attentions.sinks import SinkAttention
from palmetto.model.attentions.strided import StridedAttention
from palmetto.model.blocked import HIDDEN, ScoreFunction, blocked_attention, products
from palmetto.model.masks import block_pairs, visible, with_prefix
from palmetto.recipe.parts import Attention
from tests.references.quickly import QUICKLY

Float64 = npt.NDArray[np.float64]

FULL = FullAttention()
ATTENTIONS: list[Attention] = [
    FULL,
    LocalAttention(window=5),
    StridedAttention(stride=3),
    SinkAttention(sinks=2, window=4),
    ParallelWindows(window=4, count=3),
    MemoryAttention(window=6, layer=0),
]


def shown(attention: Attention, queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Returns the mask [rows, 1, columns], which broadcasts against scores [B, K, rows, G, columns]."""
    return visible(attention, queries[:, None, None], keys)


def plain(attention: Attention, parameters: Any, constants: Any, q: Any, k: Any, queries: Any, keys: Any) -> jax.Array:
    return jnp.where(shown(attention, queries, keys), products(q, k), HIDDEN)


def sloped(attention: Attention, slopes: Any, constants: Any, q: Any, k: Any, queries: Any, keys: Any) -> jax.Array:
    """Returns scores with a penalty on distance; `slopes` holds one slope [K, G] per head."""
    distance = queries[:, None, None] - keys
    scores = products(q, k) - slopes[:, None, :, None] * distance
    return jnp.where(shown(attention, queries, keys), scores, HIDDEN)


def bucketed(attention: Attention, table: Any, constants: Any, q: Any, k: Any, queries: Any, keys: Any) -> jax.Array:
    """A bias for each distance up to the last and head, table [distances, K, G]."""
    distance = jnp.clip(queries[:, None] - keys, 0, table.shape[0] - 1)
    bias = table[distance].transpose(2, 0, 3, 1)
    return jnp.where(shown(attention, queries, keys), products(q, k) + bias, HIDDEN)


def relative(attention: Attention, learned: Any, constants: Any, q: Any, k: Any, queries: Any, keys: Any) -> jax.Array:
    """(q + u)·k + (q + w)·r(distance), u and w [K, G, Q], r the sines of a kernel [Q] times the distance."""
    distance = (queries[:, None] - keys).astype(jnp.float32)
    r = jnp.sin(distance[..., None] * learned["kernel"])
    scores = products(q + learned["u"][:, None], k) + jnp.einsum("bkrgq,rcq->bkrgc", q + learned["w"][:, None], r)
    return jnp.where(shown(attention, queries, keys), scores, HIDDEN)


def prefixed(attention: Attention, parameters: Any, prefix: Any, q: Any, k: Any, queries: Any, keys: Any) -> jax.Array:
    """Returns scores in which the positions of each sequence's prefix, of length [B], see each other."""
    queries, prefix = queries[:, None, None], prefix[:, None, None, None, None]
    return jnp.where(with_prefix(visible(attention, queries, keys), queries, keys, prefix), products(q, k), HIDDEN)


def arrays(length: int, groups: int, heads: int = 4, size: int = 6, batch: int = 2) -> tuple[Float64, ...]:
    """Returns q, k, v and the cotangent of the output."""
    random = np.random.default_rng(length + groups)
    q = random.standard_normal((batch, groups, length, heads // groups, size))
    k, v = random.standard_normal((2, batch, groups, length, size))
    return q, k, v, random.standard_normal(q.shape)


def in_float32(*values: Float64) -> list[jax.Array]:
    return [jnp.asarray(value, jnp.float32) for value in values]


def table_of(attention: Attention, length: int) -> npt.NDArray[np.bool_]:
    positions = np.arange(length)
    return visible(attention, positions[:, None], positions)


def softmax(scores: Float64, mask: npt.NDArray[np.bool_]) -> Float64:
    """Returns the softmax over the last axis, restricted to where `mask` is true."""
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    normalized: Float64 = weights / weights.sum(axis=-1, keepdims=True)
    return normalized


def dense(q: Float64, k: Float64, v: Float64, mask: npt.NDArray[np.bool_], bias: Float64 | float = 0.0) -> Float64:
    """Returns attention computed densely; mask and bias broadcast against [B, K, T, G, T]."""
    scores = np.einsum("bktgq,bksq->bktgs", q, k) + bias
    output: Float64 = np.einsum("bktgs,bksq->bktgq", softmax(scores, mask), v)
    return output


def dense_gradients(
    q: Float64, k: Float64, v: Float64, d: Float64, mask: npt.NDArray[np.bool_], bias: Float64 | float = 0.0
) -> tuple[Float64, Float64, Float64, Float64]:
    """Returns the gradients of Σ d·output for q, k, v and scores by the full Jacobian of softmax, diag(p) − p·pᵀ."""
    p = softmax(np.einsum("bktgq,bksq->bktgs", q, k) + bias, mask)
    dp = np.einsum("bktgq,bksq->bktgs", d, v)
    ds = np.einsum("...st,...t->...s", np.eye(p.shape[-1]) * p[..., None] - p[..., None] * p[..., None, :], dp)
    dq, dk = np.einsum("bktgs,bksq->bktgq", ds, k), np.einsum("bktgs,bktgq->bksq", ds, q)
    return dq, dk, np.einsum("bktgs,bktgq->bksq", p, d), ds


@partial(jax.jit, static_argnums=(0, 1, 2, 3), compiler_options=QUICKLY)
def output_and_gradients(
    scores: ScoreFunction,
    attention: Attention | None,
    rows: int,
    columns: int,
    parameters: Any,
    constants: Any,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    d: jax.Array,
) -> tuple[jax.Array, tuple[Any, jax.Array, jax.Array, jax.Array]]:
    pairs = block_pairs(attention, q.shape[2], rows, columns)

    def attend(parameters: Any, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return blocked_attention(scores, parameters, constants, q, k, v, pairs, rows, columns)

    output, pull = jax.vjp(attend, parameters, q, k, v)
    return output, pull(d)


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("attention", "groups"), [(FULL, 1), (FULL, 4), *((attention, 2) for attention in ATTENTIONS)])
def test_output_and_gradients_agree_with_dense_attention(attention: Attention, groups: int) -> None:
    """The length 21 is a multiple of neither block size, 4 and 8."""
    q, k, v, d = arrays(21, groups)
    mask = table_of(attention, 21)[:, None, :]
    output, (_, *gradients) = output_and_gradients(
        partial(plain, attention), attention, 4, 8, (), None, *in_float32(q, k, v, d)
    )
    assert_close(output, dense(q, k, v, mask))
    for actual, expected in zip(gradients, dense_gradients(q, k, v, d, mask)[:3], strict=True):
        assert_close(actual, expected)


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 9), st.sampled_from(ATTENTIONS))
@settings(max_examples=4)
def test_any_length_and_block_size_agree(length: int, rows: int, columns: int, attention: Attention) -> None:
    q, k, v, d = arrays(length, 1, heads=2, size=2, batch=1)
    mask = table_of(attention, length)[:, None, :]
    output, (_, *gradients) = output_and_gradients(
        partial(plain, attention), attention, rows, columns, (), None, *in_float32(q, k, v, d)
    )
    assert_close(output, dense(q, k, v, mask))
    for actual, expected in zip(gradients, dense_gradients(q, k, v, d, mask)[:3], strict=True):
        assert_close(actual, expected)


def test_slopes_and_their_gradient_agree_with_dense_attention() -> None:
    q, k, v, d = arrays(21, 2)
    slopes = np.array([[0.5, 0.25], [0.125, 0.0625]])
    mask = table_of(FULL, 21)[:, None, :]
    distance = np.subtract.outer(np.arange(21), np.arange(21)).astype(np.float64)
    bias = -slopes[:, None, :, None] * distance[:, None, :]
    output, (d_slopes, *gradients) = output_and_gradients(
        partial(sloped, FULL), FULL, 8, 4, jnp.asarray(slopes, jnp.float32), None, *in_float32(q, k, v, d)
    )
    *expected, ds = dense_gradients(q, k, v, d, mask, bias)
    assert_close(output, dense(q, k, v, mask, bias))
    assert_close(d_slopes, -np.einsum("bktgs,ts->kg", ds, distance), 1e-4)
    for actual, gradient in zip(gradients, expected, strict=True):
        assert_close(actual, gradient)


def test_a_bias_table_and_its_gradient_agree_with_dense_attention() -> None:
    attention = StridedAttention(stride=3)
    q, k, v, d = arrays(21, 2)
    table = np.random.default_rng(1).standard_normal((7, 2, 2))
    mask = table_of(attention, 21)[:, None, :]
    distance = np.clip(np.subtract.outer(np.arange(21), np.arange(21)), 0, 6)
    bias = np.moveaxis(table[distance], (0, 1, 2, 3), (1, 3, 0, 2))
    output, (d_table, *gradients) = output_and_gradients(
        partial(bucketed, attention), attention, 4, 8, jnp.asarray(table, jnp.float32), None, *in_float32(q, k, v, d)
    )
    *expected, ds = dense_gradients(q, k, v, d, mask, bias)
    assert_close(output, dense(q, k, v, mask, bias))
    assert_close(d_table, [np.einsum("bktgs,ts->kg", ds, distance == n) for n in range(7)])
    for actual, gradient in zip(gradients, expected, strict=True):
        assert_close(actual, gradient)


def test_gradients_of_relative_scores_agree_with_finite_differences() -> None:
    """Parameters form a pytree and interact with queries; derivatives are taken along random directions."""
    q, k, v, d = arrays(21, 2)
    random = np.random.default_rng(2)
    shape = (2, 2, 6)
    learned = {name: random.standard_normal(shape) for name in ("u", "w")} | {"kernel": random.standard_normal(6) / 4}
    mask = table_of(FULL, 21)[:, None, :]
    distance = np.subtract.outer(np.arange(21.0), np.arange(21.0))

    def loss(learned: dict[str, Float64], q: Float64, k: Float64, v: Float64) -> float:
        r = np.sin(distance[..., None] * learned["kernel"])
        about = np.einsum("bktgq,tsq->bktgs", q + learned["w"][:, None], r)
        return float(np.sum(d * dense(q + learned["u"][:, None], k, v, mask, about)))

    primals = (learned, q, k, v)
    _, gradients = output_and_gradients(
        partial(relative, FULL),
        FULL,
        8,
        8,
        jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), learned),
        None,
        *in_float32(q, k, v, d),
    )
    for chosen in range(len(jax.tree.leaves(primals))):
        direction = random.standard_normal(jax.tree.leaves(primals)[chosen].shape)

        def moved(step: float, chosen: int = chosen, direction: Float64 = direction) -> float:
            leaves, structure = jax.tree.flatten(primals)
            leaves[chosen] = leaves[chosen] + step * direction
            return loss(*jax.tree.unflatten(structure, leaves))

        slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
        assert_close(np.sum(jax.tree.leaves(gradients)[chosen] * direction), slope, 1e-4)


def test_prefixes_of_different_lengths_agree_with_dense_attention() -> None:
    """The second prefix is longer than the sequence, so that the padding of the last block is visible to scores."""
    q, k, v, d = arrays(21, 2)
    prefix = np.array([13, 24])
    mask = np.stack([table_of(FULL, 21) | np.logical_and.outer(np.arange(21) < n, np.arange(21) < n) for n in prefix])
    mask = mask[:, None, :, None, :]
    output, (_, *gradients) = output_and_gradients(
        partial(prefixed, FULL), None, 8, 4, (), jnp.asarray(prefix), *in_float32(q, k, v, d)
    )
    assert_close(output, dense(q, k, v, mask))
    for actual, expected in zip(gradients, dense_gradients(q, k, v, d, mask)[:3], strict=True):
        assert_close(actual, expected)


def test_large_scores_do_not_overflow() -> None:
    """Without the running maximum the sum of exponentials would overflow."""
    q, k, v, d = arrays(21, 1)
    q *= 100
    mask = table_of(FULL, 21)[:, None, :]
    output, (_, *gradients) = output_and_gradients(partial(plain, FULL), FULL, 4, 4, (), None, *in_float32(q, k, v, d))
    assert_close(output, dense(q, k, v, mask), 1e-3)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_bfloat16_agrees_to_its_rounding() -> None:
    """Results are in bfloat16 and within its rounding error of the reference on the same inputs."""
    rounded = [x.astype(jnp.bfloat16) for x in in_float32(*arrays(21, 2))]
    q, k, v, d = (np.asarray(x, np.float64) for x in rounded)
    mask = table_of(FULL, 21)[:, None, :]
    output, (_, *gradients) = output_and_gradients(partial(plain, FULL), FULL, 4, 8, (), None, *rounded)
    assert output.dtype == jnp.bfloat16
    assert_close(output, dense(q, k, v, mask), 0.02)
    for actual, expected in zip(gradients, dense_gradients(q, k, v, d, mask)[:3], strict=True):
        assert actual.dtype == jnp.bfloat16
        assert_close(actual, expected, 0.05)


@pytest.mark.parametrize("attention", ATTENTIONS, ids=lambda attention: attention.name)
def test_outputs_do_not_depend_on_later_tokens(attention: Attention) -> None:
    """Changing the tokens from a position on leaves every bit of earlier outputs unchanged."""
    original = [array.astype(np.float32) for array in arrays(21, 2)[:3]]
    pairs = block_pairs(attention, 21, 4, 8)

    @partial(jax.jit, compiler_options=QUICKLY)
    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return blocked_attention(partial(plain, attention), (), None, q, k, v, pairs, 4, 8)

    before = np.asarray(attend(*original))
    for position in range(1, 21):
        changed = [np.concatenate([x[:, :, :position], 1 - 3 * x[:, :, position:]], axis=2) for x in original]
        after = np.asarray(attend(*changed))
        np.testing.assert_array_equal(before[:, :, :position], after[:, :, :position])
        assert not np.array_equal(before[:, :, position:], after[:, :, position:])


def test_memory_grows_linearly_with_the_length() -> None:
    """Both passes together: for 16 times the positions, storing all weights would take 256 times the memory."""

    def temporary(length: int) -> int:
        q, k = jnp.zeros((1, 1, length, 2, 8)), jnp.zeros((1, 1, length, 8))
        compiled = output_and_gradients.lower(partial(plain, FULL), FULL, 64, 64, (), None, q, k, k, q).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return int(analysis.temp_size_in_bytes)

    assert temporary(4096) < 17 * temporary(256)
    weights = 2 * 4096 * 4096 * 4
    # On GPUs other temporaries make it slightly more than a quarter.
    assert temporary(4096) < weights / (4 if jax.default_backend() == "cpu" else 3)
