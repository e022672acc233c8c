"""Tests that the random choices of objectives have the promised distributions."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.recipe.objectives import (
    Denoiser,
    MixtureObjective,
    Objective,
    PrefixObjective,
    SpanObjective,
    example_length,
    extra_tokens,
)
from tests.references.examples import (
    EOD,
    VOCABULARY,
    Parts,
    chi_square,
    expected_spans,
    make,
    mixtures,
    rows,
    sizes,
    spans,
    windows_of,
)


def test_prefixes_are_uniform_up_to_the_last_but_one() -> None:
    counts = Counter(make(PrefixObjective(), windows_of(4000, 11), np.arange(4000)).prefix.tolist())
    assert sorted(counts) == list(range(1, 10))
    assert chi_square(counts.values()) < 4
    assert make(PrefixObjective(), windows_of(50, 3), np.arange(50)).prefix.tolist() == [1] * 50


@given(spans, sizes, st.integers(0, 2**62))
def test_noise_and_spans_are_exactly_as_many_as_asked(objective: SpanObjective, size: int, at: int) -> None:
    noise, count = expected_spans(size, objective.noise, objective.mean_span)
    (example,) = rows(make(objective, windows_of(1, size), [at]))
    parts = Parts(objective, size, *example)
    assert [len(parts.gaps), len(parts.spans)] == [count, count]
    assert all(parts.gaps)
    assert all(parts.spans)
    assert sum(map(len, parts.spans)) == noise
    assert example[2] == size - noise + count
    assert sum(example[1]) == noise + count + 1
    assert parts.length == len(example[0]) == example_length(objective, size - 1) + 1
    assert extra_tokens(objective, size - 1) == count


def test_gaps_and_spans_are_uniform_compositions() -> None:
    """11 tokens, 5 of them in 3 spans: all C(4, 2) ways to cut the spans times C(6, 3) ways to cut the gaps are
    equally likely.
    """
    objective = SpanObjective(noise=0.45, mean_span=1.7)
    windows = windows_of(12_000, 11)
    counts: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for example in rows(make(objective, windows, np.arange(12_000))):
        parts = Parts(objective, 11, *example)
        counts[tuple(map(len, [*parts.gaps, parts.rest])), tuple(map(len, parts.spans))] += 1
    of_gaps = [(*c, 6 - sum(c)) for c in itertools.product(range(1, 7), repeat=3) if sum(c) <= 6]
    of_spans = [c for c in itertools.product(range(1, 6), repeat=3) if sum(c) == 5]
    assert (len(of_gaps), len(of_spans)) == (math.comb(6, 3), math.comb(4, 2))
    assert set(counts) == set(itertools.product(of_gaps, of_spans))
    assert chi_square(counts.values()) < 4


@pytest.mark.parametrize(
    ("objective", "size", "length"),
    [
        (SpanObjective(), 21, 3),
        (MixtureObjective(denoisers=(Denoiser(mode="X", noise=0.15, mean_span=64.0),)), 41, 6),
        (MixtureObjective(denoisers=(Denoiser(mode="X", noise=0.5, mean_span=64.0),)), 41, 20),
    ],
)
def test_the_place_of_a_single_span_is_uniform(objective: Objective, size: int, length: int) -> None:
    """The span may begin anywhere after the first token."""
    windows = np.tile(np.arange(size, dtype=np.int32), (4000, 1))
    counts: Counter[int] = Counter()
    for example in rows(make(objective, windows, np.arange(4000))):
        (span,) = Parts(objective, size, *example).spans
        assert span == list(range(span[0], span[0] + length))
        counts[span[0]] += 1
    assert sorted(counts) == list(range(1, size - length + 1))
    assert chi_square(counts.values()) < 4


@pytest.mark.parametrize(
    ("size", "noise", "mean", "expected"),
    [
        (3, 1e-9, 1.0, [[10, 50, 12, 50, 11, EOD], [10, 11, 50, 50, 12, EOD]]),
        (3, 0.999, 1.0, [[10, 50, 50, 11, 12, EOD]]),
        (3, 0.5, 1e9, [[10, 50, 50, 11, 12, EOD]]),
        (4, 0.5, 1e9, [[10, 50, 13, 50, 11, 12, EOD], [10, 11, 50, 50, 12, 13, EOD]]),
        (4, 0.5, 1.0, [[10, 50, 12, 51, 50, 11, 51, 13, EOD]]),
        (5, 0.6, 1.0, [[10, 50, 12, 51, 50, 11, 51, 13, 14, EOD], [10, 50, 13, 51, 50, 11, 12, 51, 14, EOD]]),
    ],
)
def test_the_smallest_windows(size: int, noise: float, mean: float, expected: list[list[int]]) -> None:
    windows = np.tile(np.arange(10, 10 + size, dtype=np.int32), (60, 1))
    made = make(SpanObjective(noise=noise, mean_span=mean), windows, range(60)).tokens.tolist()
    assert sorted(map(tuple, expected)) == sorted(set(map(tuple, made)))


@settings(max_examples=40)
@given(mixtures, sizes)
def test_each_example_is_one_of_the_denoisers(objective: MixtureObjective, size: int) -> None:
    bodies = set()
    possible = set()
    for denoiser in objective.denoisers:
        if denoiser.mean_span is None:
            longest = min(max(round(2 * size * denoiser.noise) - 1, 1), size - 1)
            possible |= {("S", predicted, size) for predicted in range(1, longest + 1)}
        else:
            noise, count = expected_spans(size, denoiser.noise, denoiser.mean_span)
            possible.add((denoiser.mode, noise, size + 2 * count + 1))
    for example in rows(make(objective, windows_of(100, size), np.arange(100))):
        parts = Parts(objective, size, *example)
        assert parts.mode is not None
        bodies.add((parts.mode, sum(map(len, parts.spans)), parts.length - 1))
        assert (
            sum(map(len, [*parts.gaps, parts.rest])) + 1 + (len(parts.gaps) if parts.mode != "S" else 0) == example[2]
        )
    assert bodies <= possible
    assert {mode for mode, _, _ in bodies} == {denoiser.mode for denoiser in objective.denoisers}
    assert max(length for _, _, length in bodies) == max(length for _, _, length in possible)
    assert example_length(objective, size - 1) == max(length for _, _, length in possible)


def test_denoisers_are_equally_likely() -> None:
    objective, size = MixtureObjective(), 257
    assert len({expected_spans(size, d.noise, d.mean_span) for d in objective.denoisers if d.mean_span}) == 6
    counts: Counter[Any] = Counter()
    for example in rows(make(objective, windows_of(2100, size), np.arange(2100))):
        parts = Parts(objective, size, *example)
        counts[parts.mode, len(parts.spans), parts.length] += 1
    assert len(counts) == 7
    assert chi_square(counts.values()) < 4


@pytest.mark.parametrize(("noise", "longest"), [(0.25, 9), (0.5, 19), (0.01, 1), (0.9, 19)])
def test_s_predicts_a_uniform_suffix(noise: float, longest: int) -> None:
    objective = MixtureObjective(denoisers=(Denoiser(mode="S", noise=noise),))
    examples = make(objective, windows_of(3000, 20), np.arange(3000))
    assert extra_tokens(objective, 19) == 3
    assert set(examples.tokens[:, 0].tolist()) == {VOCABULARY + 1}
    assert examples.tokens.shape == (3000, 21)
    counts = Counter((21 - examples.prefix).tolist())
    assert sorted(counts) == list(range(1, longest + 1))
    assert longest == 1 or chi_square(counts.values()) < 4
