"""Rotary positions: what attention sees of two positions is their distance."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.model.positions.rotary import RotaryPositions, rotate

SIZE = 8


def turned(x: np.ndarray, position: int) -> np.ndarray:
    """x [SIZE] at a position; its pairs are components i and i + SIZE / 2."""
    angles = RotaryPositions().angles(jnp.array([position]), SIZE)
    return np.asarray(rotate(jnp.asarray(x, jnp.float32)[None, None], angles))[0, 0].astype(np.float64)


@given(seed=st.integers(0, 1 << 30), early=st.integers(0, 300), distance=st.integers(0, 300), shift=st.integers(0, 300))
def test_product_of_a_query_and_a_key_depends_on_their_distance_alone(
    seed: int, early: int, distance: int, shift: int
) -> None:
    q, k = np.random.default_rng(seed).normal(size=(2, SIZE))
    here = turned(q, early + distance) @ turned(k, early)
    there = turned(q, early + distance + shift) @ turned(k, early + shift)
    # Angles up to 900 are rounded to 2⁻¹⁵ in float32.
    assert abs(here - there) < 1e-4 * np.linalg.norm(q) * np.linalg.norm(k)


@given(position=st.integers(0, 2048), pair=st.integers(0, SIZE // 2 - 1))
def test_each_pair_turns_with_a_frequency_of_its_own(position: int, pair: int) -> None:
    angle = position * 10000.0 ** (-2 * pair / SIZE)
    for component, expected in ((pair, (np.cos(angle), np.sin(angle))), (pair + 4, (-np.sin(angle), np.cos(angle)))):
        there = turned(np.eye(SIZE)[component], position)
        assert np.allclose(there[[pair, pair + 4]], expected, atol=2e-4)
        assert np.count_nonzero(np.delete(there, [pair, pair + 4])) == 0


def test_position_zero_turns_nothing_and_lengths_are_kept() -> None:
    x = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    assert np.array_equal(turned(x, 0), x)
    assert np.isclose(np.linalg.norm(turned(x, 777)), np.linalg.norm(x), rtol=1e-6)
