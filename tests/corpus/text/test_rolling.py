"""Compares hashes of stretches with the polynomial computed directly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus.text import rolling
from palmetto.corpus.text.rolling import BASE, Rolling

VALUES = st.lists(st.integers(0, 2**64 - 1), max_size=40)


@given(VALUES, st.data())
def test_a_stretch_is_its_polynomial(values: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(start, len(values)))
    expected = sum(value * BASE**place for place, value in enumerate(values[start:end])) % 2**64
    assert Rolling(np.array(values, np.uint64)).hash(np.array([start]), np.array([end])).tolist() == [expected]


def test_a_text_of_any_length_has_powers_enough() -> None:
    values = np.arange(1, rolling._KEPT + 100, dtype=np.uint64)
    whole = Rolling(values)
    for start in (0, 7, rolling._KEPT - 2, rolling._KEPT + 90):
        stretch = Rolling(values[start : start + 5]).hash(np.array([0]), np.array([5]))
        assert whole.hash(np.array([start]), np.array([start + 5])) == stretch
