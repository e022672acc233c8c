"""Decomposes training examples, and provides strategies for the objectives that make them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from palmetto.recipe.objectives import (
    CausalObjective,
    Denoiser,
    MixtureObjective,
    Objective,
    PrefixObjective,
    SpanObjective,
    extra_tokens,
)
from palmetto.tokens.objectives import Examples, Ids, make_examples

VOCABULARY = 50
EOD = 2
share = st.one_of(
    st.floats(0, 1, exclude_min=True, exclude_max=True), st.sampled_from([5e-324, 1e-9, 0.15, 0.5, 1 - 2**-53])
)
mean_span = st.one_of(st.sampled_from([1.0, 3.0, 64.0, 1e300]), st.floats(1, 20))
spans = st.builds(SpanObjective, noise=share, mean_span=mean_span)
corrupting = st.builds(Denoiser, mode=st.sampled_from(["R", "X"]), noise=share, mean_span=mean_span)
suffix = st.builds(Denoiser, mode=st.just("S"), noise=share)
mixtures = st.builds(
    MixtureObjective, denoisers=st.lists(st.one_of(corrupting, suffix), min_size=1, max_size=4).map(tuple)
)
objectives = st.one_of(st.just(CausalObjective()), st.just(PrefixObjective()), spans, mixtures)
positions = st.lists(st.integers(0, 2**62), min_size=1, max_size=6)
sizes = st.one_of(st.just(3), st.integers(3, 40))


def windows_of(count: int, size: int, seed: int = 0) -> Ids:
    """Returns a strategy for windows of arbitrary tokens, document ends included."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, (count, size), dtype=np.int32)


def make(objective: Objective, windows: Ids, positions: Any, seed: int = 7) -> Examples:
    at = np.array(positions, np.int64)
    return make_examples(objective, windows, at, seed=seed, vocabulary_size=VOCABULARY, eod=EOD)


def rows(examples: Examples) -> list[tuple[list[int], list[bool], int]]:
    return list(zip(examples.tokens.tolist(), examples.scored.tolist(), (int(p) for p in examples.prefix), strict=True))


class Parts:
    """Holds one example in parts: its mode, the given and predicted pieces of its window, and the window.

    Each of `gaps` comes before the span of the same index; `rest` comes after all spans.
    """

    def __init__(self, objective: Objective, size: int, tokens: list[int], scored: list[bool], prefix: int) -> None:
        mixture = isinstance(objective, MixtureObjective)
        self.mode = "RSX"[tokens[0] - VOCABULARY - extra_tokens(objective, size - 1) + 3] if mixture else None
        self.length = max(place for place, is_scored in enumerate(scored) if is_scored) + 1
        assert tokens[self.length :] == [EOD] * (len(tokens) - self.length)
        assert scored == [max(1, prefix) <= place < self.length for place in range(len(tokens))]
        given, predicted = tokens[mixture:prefix], tokens[prefix : self.length]
        self.gaps, self.spans, self.rest = [given], [predicted], list[int]()
        if isinstance(objective, SpanObjective) or self.mode in ("R", "X"):
            assert predicted[-1] == EOD
            (*self.gaps, self.rest), sentinels = split(given)
            (before, *self.spans), again = split(predicted[:-1])
            assert before == []
            assert sentinels == again == list(range(VOCABULARY, VOCABULARY + len(sentinels)))
        pairs = zip(self.gaps, self.spans, strict=True)
        self.window = [token for gap, span in pairs for token in gap + span] + self.rest


def split(tokens: list[int]) -> tuple[list[list[int]], list[int]]:
    """Returns the runs of a window's tokens between the sentinels, and the sentinels."""
    runs: list[list[int]] = [[]]
    sentinels = []
    for token in tokens:
        if token < VOCABULARY:
            runs[-1].append(token)
        else:
            sentinels.append(token)
            runs.append([])
    return runs, sentinels


def reconstruct(objective: Objective, size: int, example: tuple[list[int], list[bool], int]) -> list[int]:
    """Returns the window from which an example was made; raises AssertionError if the example is invalid."""
    return Parts(objective, size, *example).window


def chi_square(counts: Any) -> float:
    """Returns by how many standard deviations counts differ from equal counts more than chance explains."""
    observed: npt.NDArray[np.float64] = np.array(list(counts), np.float64)
    statistic = float(((observed - observed.mean()) ** 2).sum() / observed.mean())
    return (statistic - (len(observed) - 1)) / math.sqrt(2 * (len(observed) - 1))


def expected_spans(size: int, noise: float, mean: float) -> tuple[int, int]:
    """Returns the noise tokens and spans according to the rule as it is stated."""
    tokens = int(np.clip(np.round(size * noise), 1, size - 1))
    return tokens, int(np.clip(np.round(tokens / mean), 1, min(tokens, size - tokens)))
