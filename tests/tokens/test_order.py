"""Tests the permutation, the batch ramp, and that a step's windows depend on its number alone."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import RunStopped, UserError
from palmetto.tokens.order import Order, Permutation, Ramp

Indices = npt.NDArray[np.int64]


# --- the permutation


@pytest.mark.parametrize("n", [*range(1, 70), 255, 256, 257, 1000, 4096, 4097, 65535, 65537])
def test_every_number_comes_once_and_the_inverse_undoes_it(n: int) -> None:
    permutation, every = Permutation(n, b"key"), np.arange(n)
    permuted = permutation(every)
    assert permuted.dtype == np.int64
    np.testing.assert_array_equal(np.sort(permuted), every)
    np.testing.assert_array_equal(permutation.inverse(permuted), every)
    np.testing.assert_array_equal(permutation(permutation.inverse(every)), every)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 2**62 - 1), st.binary(max_size=40), st.data())
def test_any_size_any_key(n: int, key: bytes, data: st.DataObject) -> None:
    indices = np.array(data.draw(st.lists(st.integers(0, n - 1), unique=True, max_size=20)), np.int64)
    permutation = Permutation(n, key)
    permuted = permutation(indices)
    assert len(set(permuted.tolist())) == len(indices)
    assert all(0 <= value < n for value in permuted.tolist())
    np.testing.assert_array_equal(permutation.inverse(permuted), indices)
    np.testing.assert_array_equal(permuted, [permutation(np.array([index]))[0] for index in indices])


@pytest.mark.parametrize(
    ("n", "first"),
    [
        (10, [5, 1, 3, 2, 6, 0, 8, 4]),
        (1000, [328, 566, 247, 952, 804, 252, 61, 567]),
        (10**6, [342200, 837142, 960430, 64925, 945404, 671113, 386598, 509174]),
        (
            2**40,
            [211008147886, 49988009995, 273122456931, 453897292754, 1088916529992, 1004882829334, 34392542070],
        ),
    ],
)
def test_the_permutation_never_changes(n: int, first: list[int]) -> None:
    assert Permutation(n, b"golden")(np.arange(len(first))).tolist() == first


def chi_square(cells: Indices, count: int) -> float:
    """Returns by how many standard deviations `cells`, numbers in [0, count), differ from uniform more than by
    chance.
    """
    expected = len(cells) / count
    statistic = float(((np.bincount(cells, minlength=count) - expected) ** 2).sum() / expected)
    return (statistic - (count - 1)) / math.sqrt(2 * (count - 1))


def differences(permuted: Indices) -> float:
    n = len(permuted)
    return chi_square((np.diff(permuted) % n) * 64 // n, 64)


def second_differences(permuted: Indices) -> float:
    n = len(permuted)
    return chi_square((np.diff(permuted, 2) % n) * 64 // n, 64)


def low_bits_of_index_and_value(permuted: Indices) -> float:
    return chi_square(np.arange(len(permuted)) % 16 * 16 + permuted % 16, 256)


def high_bits_of_index_and_value(permuted: Indices) -> float:
    n = len(permuted)
    return chi_square(np.arange(n) * 16 // n * 16 + permuted * 16 // n, 256)


def low_bits_of_neighbours(permuted: Indices) -> float:
    return chi_square(permuted[:-1] % 16 * 16 + permuted[1:] % 16, 256)


def high_bits_of_neighbours(permuted: Indices) -> float:
    n = len(permuted)
    return chi_square(permuted[:-1] * 16 // n * 16 + permuted[1:] * 16 // n, 256)


def bit_correlation(permuted: Indices) -> float:
    """Returns the largest correlation of a low bit of the index with a low bit of the value, in standard deviations."""
    index_bits = 1 - 2 * (np.arange(len(permuted))[None] >> np.arange(6)[:, None] & 1)
    value_bits = 1 - 2 * (permuted[None] >> np.arange(6)[:, None] & 1)
    return float(np.abs(index_bits @ value_bits.T).max() / len(permuted) ** 0.5)


STATISTICS: list[Callable[[Indices], float]] = [
    differences,
    second_differences,
    low_bits_of_index_and_value,
    high_bits_of_index_and_value,
    low_bits_of_neighbours,
    high_bits_of_neighbours,
    bit_correlation,
]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_no_low_order_structure_is_left(statistic: Callable[[Indices], float]) -> None:
    for n in (1 << 16, 50_000, 70_000):
        every = np.arange(n)
        for seed in range(4):
            assert statistic(Permutation(n, f"order {seed} 0".encode())(every)) < 6
        # The statistic detects structure: it rejects an affine map and accepts numpy's shuffle.
        assert statistic((every * 9 + 12345) % n) > 20
        assert statistic(np.random.default_rng(0).permutation(n)) < 6


def test_keys_give_unrelated_permutations() -> None:
    n = 1 << 16
    permutations = [
        Permutation(n, f"order {seed} {epoch}".encode())(np.arange(n)) for seed in (0, 1) for epoch in (0, 1)
    ]
    for one, other in itertools.combinations(permutations, 2):
        assert chi_square((one - other) % n * 64 // n, 64) < 6
        assert int((one == other).sum()) < 10


@pytest.mark.parametrize("n", [0, -1, 1 << 62])
def test_sizes_that_cannot_be_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"a permutation of {n} numbers"):
        Permutation(n, b"")


def test_indices_outside_are_refused() -> None:
    for indices in ([10], [-1, 3]):
        with pytest.raises(IndexError, match=r"outside \[0, 10\)"):
            Permutation(10, b"")(np.array(indices))
    assert Permutation(10, b"")(np.array([], np.int64)).shape == (0,)


# --- the ramp

phases = st.tuples(
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), max_size=4, unique_by=lambda phase: phase[0]),
).map(lambda drawn: ((0, drawn[0]), *sorted(drawn[1])))


@given(phases, st.integers(1, 60))
def test_the_ramp_in_closed_form_is_the_sum(phases: tuple[tuple[int, int], ...], step: int) -> None:
    ramp = Ramp(phases)
    sizes = [[n for start, n in phases if start <= s - 1][-1] for s in range(1, step + 1)]
    assert ramp.sequences(step) == sizes[-1]
    assert ramp.sequences_before(step) == sum(sizes[:-1])


def test_palms_ramp() -> None:
    ramp = Ramp(((0, 512), (50_000, 1024), (115_000, 2048)))
    for step, sequences in ((1, 512), (50_000, 512), (50_001, 1024), (115_000, 1024), (115_001, 2048), (255_000, 2048)):
        assert ramp.sequences(step) == sequences
    assert ramp.sequences_before(255_001) == 512 * 50_000 + 1024 * 65_000 + 2048 * 140_000


@pytest.mark.parametrize(
    "phases", [(), ((1, 4),), ((0, 4), (0, 8)), ((0, 4), (5, 8), (3, 9)), ((0, 0),), ((0, 4), (5, -1))]
)
def test_impossible_ramps_are_refused(phases: Any) -> None:
    with pytest.raises(UserError, match=r"training\.batch_size: "):
        Ramp(phases)


# --- the order of a run


@settings(deadline=None)
@given(st.integers(1, 60), phases, st.integers(1, 4))
def test_every_epoch_shows_each_window_once(windows: int, phases: tuple[tuple[int, int], ...], epochs: int) -> None:
    order = Order(windows, phases, seed=3, epochs=epochs)
    steps = order.steps_that_fit()
    batches = [order.sequence_numbers(step) for step in range(1, steps + 1)]
    assert [len(batch) for batch in batches] == [order.ramp.sequences(step) for step in range(1, steps + 1)]
    stream = [number for batch in batches for number in batch.tolist()]
    assert 0 <= windows * epochs - len(stream) < order.ramp.sequences(steps + 1)
    for epoch in range(epochs):
        seen = stream[epoch * windows : (epoch + 1) * windows]
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(windows))
    with pytest.raises(UserError, match=f"enough for {steps} steps"):
        order.sequence_numbers(steps + 1)


def test_epochs_and_seeds_differ() -> None:
    orders = [Order(500, ((0, 500),), seed, 2) for seed in (0, 1)]
    seen = [tuple(order.sequence_numbers(step).tolist()) for order in orders for step in (1, 2)]
    assert len(set(seen)) == 4


@settings(deadline=None)
@given(
    phases,
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 30)), max_size=3).map(lambda skips: tuple(sorted(skips))),
    st.permutations(range(1, 16)),
)
def test_skips_move_the_later_steps_on_and_nothing_else(
    phases: tuple[tuple[int, int], ...], skips: tuple[tuple[int, int], ...], steps: list[int]
) -> None:
    stream = Order(400, ((0, 400),), seed=5, epochs=1).sequence_numbers(1).tolist()
    order = Order(400, phases, seed=5, epochs=1)
    # The order of the calls does not matter, as after any number of resumes.
    for step in steps:
        start = order.sequences_before(step) + sum(n for after, n in skips if after < step)
        expected = stream[start : start + order.ramp.sequences(step)]
        assert order.sequence_numbers(step, skips).tolist() == expected
        assert Order(400, phases, seed=5, epochs=1).sequence_numbers(step, skips).tolist() == expected


@settings(deadline=None)
@given(
    st.integers(1, 60),
    phases,
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=3),
)
def test_steps_that_fit_is_the_last_that_can_be_taken(
    windows: int, phases: tuple[tuple[int, int], ...], skips: list[tuple[int, int]]
) -> None:
    order = Order(windows, phases, seed=0, epochs=2)
    fit = order.steps_that_fit(skips)
    if fit:
        order.sequence_numbers(fit, skips)
    with pytest.raises(UserError):
        order.sequence_numbers(fit + 1, skips)


def test_the_order_never_changes() -> None:
    order = Order(1000, ((0, 4), (3, 8)), seed=7, epochs=2)
    assert order.sequence_numbers(1).tolist() == [496, 280, 495, 415]
    assert order.sequence_numbers(4).tolist() == [236, 492, 843, 3, 217, 706, 193, 489]
    assert order.sequence_numbers(4, ((2, 5),)).tolist() == [706, 193, 489, 618, 932, 86, 799, 233]


def test_too_many_steps_are_refused_before_training() -> None:
    order = Order(1000, ((0, 8), (50, 16)), seed=0, epochs=1)
    assert order.steps_that_fit() == 87
    order.check(87)
    with pytest.raises(UserError) as caught:
        order.check(88)
    assert not isinstance(caught.value, RunStopped)
    message = str(caught.value)
    assert message.startswith("training.steps=88: takes 1008 sequences")
    assert "holds 1000: at most 87 steps fit" in message
    assert "training.epochs" in message
    Order(1000, ((0, 8), (50, 16)), seed=0, epochs=2).check(88)


def test_data_that_runs_out_by_skips_stops_the_run() -> None:
    order = Order(1000, ((0, 10),), seed=0, epochs=1)
    order.check(100)
    with pytest.raises(RunStopped, match=r"step 96: .* less 55 skipped, enough for 94 steps"):
        order.sequence_numbers(96, ((20, 55),))
    with pytest.raises(UserError) as caught:
        order.sequence_numbers(101)
    assert not isinstance(caught.value, RunStopped)
