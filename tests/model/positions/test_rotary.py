"""Tests that rotary positions make attention depend only on the distance between positions."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.model.positions.rotary import RotaryPositions

SIZE = 8


def rotated(x: np.ndarray, position: int) -> np.ndarray:
    """Returns x [SIZE] rotated for a position; its pairs are components i and i + SIZE / 2."""
    angles = RotaryPositions().angles(jnp.array([position]), SIZE)
    return np.asarray(angles(jnp.asarray(x, jnp.float32)[None, None]))[0, 0].astype(np.float64)


@given(seed=st.integers(0, 1 << 30), early=st.integers(0, 300), distance=st.integers(0, 300), shift=st.integers(0, 300))
def test_the_product_depends_only_on_the_distance(seed: int, early: int, distance: int, shift: int) -> None:
    q, k = np.random.default_rng(seed).normal(size=(2, SIZE))
    here = rotated(q, early + distance) @ rotated(k, early)
    there = rotated(q, early + distance + shift) @ rotated(k, early + shift)
    # Angles up to 900 are rounded to 2⁻¹⁵ in float32.
    assert abs(here - there) < 1e-4 * np.linalg.norm(q) * np.linalg.norm(k)


@given(position=st.integers(0, 2048), pair=st.integers(0, SIZE // 2 - 1))
def test_each_pair_rotates_with_its_own_frequency(position: int, pair: int) -> None:
    angle = position * 10000.0 ** (-2 * pair / SIZE)
    for component, expected in ((pair, (np.cos(angle), np.sin(angle))), (pair + 4, (-np.sin(angle), np.cos(angle)))):
        there = rotated(np.eye(SIZE)[component], position)
        assert np.allclose(there[[pair, pair + 4]], expected, atol=2e-4)
        assert np.count_nonzero(np.delete(there, [pair, pair + 4])) == 0


def test_position_zero_rotates_nothing_and_norms_are_kept() -> None:
    x = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
    assert np.array_equal(rotated(x, 0), x)
    assert np.isclose(np.linalg.norm(rotated(x, 777)), np.linalg.norm(x), rtol=1e-6)
