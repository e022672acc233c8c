"""The quick test for far values decides as the medians themselves do."""

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.training.recent import Recent

VALUES = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, 1.001, 2.0, 1e30, -1e30]))


def deviations(value: float, window: list[float]) -> float:
    """Returns the distance above the median in units of 1.4826 times the median absolute deviation."""
    middle = statistics.median(window)
    spread = 1.4826 * statistics.median(abs(x - middle) for x in window)
    return (value - middle) / max(spread, 1e-3 * abs(middle), 1e-12)


@settings(max_examples=400)
@given(values=st.lists(VALUES, min_size=1, max_size=40), size=st.integers(1, 12), threshold=st.floats(0.5, 10))
def test_a_value_is_far_if_its_deviations_exceed_the_threshold(
    values: list[float], size: int, threshold: float
) -> None:
    recent = Recent(size)
    for number, value in enumerate(values):
        if number:
            window = values[max(0, number - size) : number]
            assert len(recent) == len(window)
            assert recent.is_far_below(value, threshold) == (deviations(value, window) > threshold)
        recent.add(value)


@pytest.mark.parametrize("size", [8, 9])
def test_a_value_at_the_threshold_is_not_far(size: int) -> None:
    recent = Recent(size)
    for number in range(size):
        recent.add(float(number))
    window = [float(number) for number in range(size)]
    edge = statistics.median(window) + 3 * 1.4826 * statistics.median(
        abs(x - statistics.median(window)) for x in window
    )
    for value in (edge * (1 - 1e-12), edge, edge * (1 + 1e-12), edge * (1 + 1e-6)):
        assert recent.is_far_below(value, 3.0) == (deviations(value, window) > 3.0)
