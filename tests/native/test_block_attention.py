"""Tests attention over blocks against float64."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.native.block_attention import Seen, attend_blocks
from tests.native.conftest import Choose

DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
ERROR = {"float32": 2e-6, "bfloat16": 5e-3}
"""The largest error of a result of values of about 1."""

NOWHERE = 1 << 30


class Given(NamedTuple):
    """Holds the arguments of `attend_blocks`."""

    q: jax.Array
    keys: jax.Array
    values: jax.Array
    tables: jax.Array
    starts: jax.Array
    sequences: jax.Array
    seen: Seen


def drawn(
    dtype: str = "float32",
    rows: int = 9,
    heads: int = 2,
    group: int = 3,
    size: int = 24,
    positions: int = 8,
    window: int = 1 << 20,
    kept: int = 0,
    gaps: bool = False,
) -> Given:
    """Returns rows at random positions of three sequences of up to 6 blocks, in tables in any order."""
    random = np.random.default_rng(size + rows)
    blocks = random.permutation(18).reshape(3, 6)
    starts = np.stack([random.permutation(6) for _ in range(3)]) * positions
    if gaps:
        starts[random.random(starts.shape) < 0.3] = NOWHERE
        starts[:, 0] = 0
    at = random.integers(0, 6 * positions, rows)
    q, keys, values = (
        jnp.asarray(random.standard_normal(shape), dtype)
        for shape in ((rows, heads * group, size), *[(18, heads, positions, size)] * 2)
    )
    bounds = np.full(rows, kept), at - window + 1, at + 1
    seen = Seen(*(jnp.asarray(bound, jnp.int32) for bound in bounds))
    of_rows = random.integers(0, 3, rows)
    tables, starts_, sequences = (jnp.asarray(x, jnp.int32) for x in (blocks, starts, of_rows))
    return Given((q / size**0.5).astype(dtype), keys, values, tables, starts_, sequences, seen)


def reference(arrays: Given) -> np.ndarray:
    """Returns the result in float64, by the plain formulas."""
    q, keys, values = (np.asarray(array, np.float64) for array in arrays[:3])
    tables, starts, sequences = (np.asarray(array) for array in arrays[3:6])
    result, group = np.empty(q.shape), q.shape[1] // keys.shape[1]
    for row, sequence in enumerate(sequences):
        kept, first, end = (int(bound[row]) for bound in arrays.seen)
        at = (starts[sequence][:, None] + np.arange(keys.shape[2])).ravel()
        visible = (at < end) & ((at < kept) | (at >= first))
        for head in range(q.shape[1]):
            own_keys, own_values = (x[tables[sequence], head // group].reshape(-1, q.shape[2]) for x in (keys, values))
            scores = np.where(visible, own_keys @ q[row, head], -np.inf)
            with np.errstate(invalid="ignore"):  # of nothing
                e = np.exp(scores - scores.max())
            result[row, head] = e @ own_values / e.sum()
    return result


def bits(array: jax.Array) -> list[bytes]:
    return [np.asarray(row).tobytes() for row in array]


@DTYPES
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    heads=st.sampled_from([(1, 1), (1, 6), (2, 3), (4, 1)]),
    size=st.sampled_from([6, 16, 24, 40, 64, 80, 256]),
    positions=st.sampled_from([1, 4, 16, 64]),
    window=st.sampled_from([1, 5, 1 << 20]),
    kept=st.sampled_from([0, 1, 7]),
    gaps=st.booleans(),
)
def test_attention_is_that_of_float64(
    instruction_set: str,
    dtype: str,
    heads: tuple[int, int],
    size: int,
    positions: int,
    window: int,
    kept: int,
    gaps: bool,
) -> None:
    arrays = drawn(dtype, 4, *heads, size, positions, window, kept, gaps)
    found, exact = np.asarray(attend_blocks(*arrays), np.float64), reference(arrays)
    assert found.shape == exact.shape
    np.testing.assert_allclose(
        found, exact, rtol=0, atol=ERROR[dtype] * np.abs(exact[np.isfinite(exact)]).max(initial=0)
    )


@DTYPES
def test_the_bits_of_a_row_are_its_own(instruction_set: str, choose: Choose, dtype: str) -> None:
    """They depend neither on the other rows and threads, nor on where the table names a block."""
    arrays = drawn(dtype, rows=64)
    together = bits(attend_blocks(*arrays))
    for threads in (1, 2, 8):
        choose(instruction_set, threads)
        assert bits(attend_blocks(*arrays)) == together
    alone = jax.jit(attend_blocks)
    for row in range(5):
        own = slice(row, row + 1)
        seen = Seen(*(bound[own] for bound in arrays.seen))
        assert bits(alone(arrays.q[own], *arrays[1:5], arrays.sequences[own], seen)) == together[own]
    order = jnp.argsort(arrays.starts, axis=1)
    tables, starts = (jnp.take_along_axis(x, order, axis=1) for x in arrays[3:5])
    tables, starts = jnp.pad(tables, ((0, 0), (2, 5))), jnp.pad(starts, ((0, 0), (2, 5)), constant_values=NOWHERE)
    assert bits(attend_blocks(*arrays[:3], tables, starts, *arrays[5:])) == together


def test_the_bits_do_not_depend_on_the_size_of_blocks(instruction_set: str) -> None:
    arrays = drawn(positions=16)
    halves = [x.reshape(18, 2, 2, 8, 24).swapaxes(1, 2).reshape(36, 2, 8, 24) for x in arrays[1:3]]
    tables = (arrays.tables[..., None] * 2 + jnp.arange(2, dtype=jnp.int32)).reshape(3, -1)
    starts = (arrays.starts[..., None] + 8 * jnp.arange(2, dtype=jnp.int32)).reshape(3, -1)
    assert bits(attend_blocks(arrays.q, halves[0], halves[1], tables, starts, *arrays[5:])) == bits(
        attend_blocks(*arrays)
    )


@DTYPES
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_only_rows_that_see_a_bad_value_are_bad(instruction_set: str, dtype: str, bad: float) -> None:
    arrays = drawn(dtype, rows=32, window=20)
    block, slot = 2, 3
    at = arrays.starts[1, block] + slot
    sees = np.asarray((arrays.sequences == 1) & (at < arrays.seen.end) & (at >= arrays.seen.first))
    assert 0 < sees.sum() < 32
    for name in ("keys", "values"):
        damaged = getattr(arrays, name).at[arrays.tables[1, block], :, slot].set(bad)
        found = np.asarray(attend_blocks(*arrays._replace(**{name: damaged})), np.float32)
        assert np.isfinite(found[~sees]).all()
        if name == "values" or np.isnan(bad):
            assert not np.isfinite(found[sees]).any()
        else:  # a score of +∞ gives NaN, one of −∞ no weight
            assert np.isnan(found[sees]).any(axis=-1).any()


@DTYPES
def test_large_scores_do_not_overflow_and_nothing_seen_is_nan(instruction_set: str, dtype: str) -> None:
    arrays = drawn(dtype)
    large = arrays._replace(q=arrays.q * 300)
    found, exact = np.asarray(attend_blocks(*large), np.float64), reference(large)
    assert np.abs(found - exact).max() <= 400 * ERROR[dtype]  # float32 scores of 1000 are exact to 2⁻¹⁴
    nothing = arrays._replace(seen=arrays.seen._replace(end=jnp.zeros(9, jnp.int32)))
    assert np.isnan(np.asarray(attend_blocks(*nothing), np.float32)).all()


def test_float32_has_the_same_bits_in_avx2_and_avx512(choose: Choose) -> None:
    found = []
    for name in ("avx2", "avx512"):
        choose(name, 2)
        found.append(bits(attend_blocks(*drawn(size=40))))
    assert found[0] == found[1]
