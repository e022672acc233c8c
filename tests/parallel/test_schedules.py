"""Tests pipeline timetables: the order of micro-batches in both directions, the bubble and the work in flight."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.parallel.schedules import Schedule, Timetable, timetable

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
schedules = pytest.mark.parametrize("schedule", SCHEDULES)
stage_counts, micro_batch_counts = st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 12)


def when(half: np.ndarray, stage: int, count: int) -> np.ndarray:
    """Returns the tick in which a stage takes each micro-batch, and asserts that it takes each once."""
    ticks, numbers = np.arange(len(half)), half[:, stage]
    assert sorted(numbers[numbers >= 0]) == list(range(count))
    return np.array([ticks[numbers == number][0] for number in range(count)])


@schedules
@given(stages=stage_counts, count=micro_batch_counts)
def test_every_micro_batch_passes_each_stage_once_per_direction(schedule: Schedule, stages: int, count: int) -> None:
    table = timetable(schedule, stages, count)
    assert table.forward.shape == table.backward.shape
    assert np.all(np.any(table.forward >= 0, axis=1) | np.any(table.backward >= 0, axis=1)), "a tick without work"
    forward = [when(table.forward, stage, count) for stage in range(stages)]
    backward = [when(table.backward, stage, count) for stage in range(stages)]
    for stage in range(stages):
        # Sums are taken in the order of micro-batches.
        assert np.all(np.diff(backward[stage]) > 0)
        # The forward half of a tick comes before its backward half.
        assert np.all(forward[stage] <= backward[stage])
    for stage in range(stages - 1):
        # A stage uses its neighbour's result at once, since it can hold only one.
        assert np.all(forward[stage + 1] == forward[stage] + 1)
        assert np.all(backward[stage] == backward[stage + 1] + 1)


@schedules
@given(stages=stage_counts, count=micro_batch_counts)
def test_the_bubble_agrees_with_the_formula(schedule: Schedule, stages: int, count: int) -> None:
    assert timetable(schedule, stages, count).bubble == pytest.approx((stages - 1) / (count + stages - 1), abs=1e-12)


@given(stages=stage_counts, count=micro_batch_counts)
def test_micro_batches_in_flight_are_as_many_as_expected(stages: int, count: int) -> None:
    assert timetable("gpipe", stages, count).in_flight.tolist() == [count] * stages
    expected = [min(count, 2 * (stages - stage) - 1) for stage in range(stages)]
    assert timetable("1f1b", stages, count).in_flight.tolist() == expected


@schedules
@given(stages=stage_counts, count=micro_batch_counts)
def test_inputs_in_flight_do_not_share_slots(schedule: Schedule, stages: int, count: int) -> None:
    table = timetable(schedule, stages, count)
    slots = int(table.in_flight.max())
    for stage in range(stages):
        kept: dict[int, int] = {}
        for forward, backward in zip(table.forward[:, stage], table.backward[:, stage], strict=True):
            if forward >= 0:
                assert forward % slots not in kept
                kept[forward % slots] = forward
            if backward >= 0:
                assert kept.pop(backward % slots) == backward


def test_small_timetables_agree_with_those_drawn_by_hand() -> None:
    _ = -1
    gpipe, one_by_one = (timetable(schedule, 2, 2) for schedule in SCHEDULES)
    assert gpipe.forward.tolist() == [[0, _], [1, 0], [_, 1], [_, _], [_, _]]
    assert gpipe.backward.tolist() == [[_, _], [_, _], [_, 0], [0, 1], [1, _]]
    assert one_by_one.forward.tolist() == [[0, _], [1, 0], [_, 1], [_, _]]
    assert one_by_one.backward.tolist() == [[_, _], [_, 0], [0, 1], [1, _]]


def test_a_bubble_that_depends_on_costs_is_refused() -> None:
    forward, backward = timetable("gpipe", 2, 2)
    with pytest.raises(AssertionError):
        _ = Timetable(forward, np.where(backward == 1, -1, backward)).bubble
