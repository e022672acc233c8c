"""Objectives: nothing of a window is lost, the position alone decides, and the shares are those that were asked for."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.recipe import loading
from palmetto.recipe.objectives import (
    CausalObjective,
    Denoiser,
    MixtureObjective,
    Objective,
    PrefixObjective,
    SpanObjective,
    example_length,
    extra_tokens,
)
from palmetto.tokens.objectives import Examples, Ids, make_examples, make_prompt
from tests.conftest import RecipeMaker

VOCABULARY, EOD = 50, 2

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
    """Windows of any tokens, ends of documents among them."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, (count, size), dtype=np.int32)


def make(objective: Objective, windows: Ids, positions: Any, seed: int = 7) -> Examples:
    at = np.array(positions, np.int64)
    return make_examples(objective, windows, at, seed=seed, vocabulary_size=VOCABULARY, eod=EOD)


def rows(examples: Examples) -> list[tuple[list[int], list[bool], int]]:
    return list(zip(examples.tokens.tolist(), examples.scored.tolist(), (int(p) for p in examples.prefix), strict=True))


class Parts:
    """One example taken apart: its mode, what is given and predicted of its window in pieces, and the window.

    Each of `gaps` stands before the one of `spans` in its place, `behind` stands behind them all.
    """

    def __init__(self, objective: Objective, size: int, tokens: list[int], scored: list[bool], prefix: int) -> None:
        mixture = isinstance(objective, MixtureObjective)
        self.mode = "RSX"[tokens[0] - VOCABULARY - extra_tokens(objective, size - 1) + 3] if mixture else None
        self.length = max(place for place, is_scored in enumerate(scored) if is_scored) + 1
        assert tokens[self.length :] == [EOD] * (len(tokens) - self.length)
        assert scored == [max(1, prefix) <= place < self.length for place in range(len(tokens))]
        given, predicted = tokens[mixture:prefix], tokens[prefix : self.length]
        self.gaps, self.spans, self.behind = [given], [predicted], list[int]()
        if isinstance(objective, SpanObjective) or self.mode in ("R", "X"):
            assert predicted[-1] == EOD
            (*self.gaps, self.behind), sentinels = split(given)
            (before, *self.spans), again = split(predicted[:-1])
            assert before == []
            assert sentinels == again == list(range(VOCABULARY, VOCABULARY + len(sentinels)))
        pairs = zip(self.gaps, self.spans, strict=True)
        self.window = [token for gap, span in pairs for token in gap + span] + self.behind


def split(tokens: list[int]) -> tuple[list[list[int]], list[int]]:
    """The runs of a window's tokens before, between and behind the sentinels, and the sentinels."""
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
    """The window that an example was made of; AssertionError if it is not one."""
    return Parts(objective, size, *example).window


# --- every example


@given(objectives, sizes, positions, st.integers(0, 2**32 - 1))
def test_every_token_is_there_once_and_in_order(objective: Objective, size: int, at: list[int], seed: int) -> None:
    windows = windows_of(len(at), size, seed)
    examples = make(objective, windows, at, seed)
    assert examples.tokens.dtype == examples.prefix.dtype == np.int32
    assert examples.scored.dtype == np.bool_
    length = example_length(objective, size - 1)
    assert examples.tokens.shape == examples.scored.shape == (len(at), length + 1)
    for window, example in zip(windows.tolist(), rows(examples), strict=True):
        assert reconstruct(objective, size, example) == window


@given(objectives, sizes, positions)
def test_something_is_scored_behind_a_prefix_that_fits(objective: Objective, size: int, at: list[int]) -> None:
    examples = make(objective, windows_of(len(at), size), at)
    assert examples.scored.any(axis=1).all()
    assert not examples.scored[:, 0].any()
    assert (examples.prefix <= example_length(objective, size - 1)).all()
    assert (examples.prefix == 0).all() == isinstance(objective, CausalObjective)
    assert examples.tokens.max() < VOCABULARY + extra_tokens(objective, size - 1)


@given(objectives, sizes, positions, st.data())
def test_the_position_alone_decides(objective: Objective, size: int, at: list[int], data: st.DataObject) -> None:
    windows = windows_of(len(at), size)
    together = make(objective, windows, at)
    order = data.draw(st.permutations(range(len(at))))
    for chosen in (order, order[:1]):
        for ours, theirs in zip(make(objective, windows[chosen], np.array(at)[chosen]), together, strict=True):
            np.testing.assert_array_equal(ours, theirs[chosen])


@given(objectives, sizes)
def test_what_is_hidden_does_not_depend_on_the_tokens(objective: Objective, size: int) -> None:
    at = np.arange(4)
    one, other = (make(objective, windows_of(4, size, seed), at) for seed in (1, 2))
    np.testing.assert_array_equal(one.prefix, other.prefix)
    np.testing.assert_array_equal(one.scored, other.scored)


@pytest.mark.parametrize("objective", [PrefixObjective(), SpanObjective(), MixtureObjective()])
def test_positions_and_seeds_differ(objective: Objective) -> None:
    windows = np.tile(windows_of(1, 120), (300, 1))
    made = [make(objective, windows, np.arange(300), seed) for seed in (0, 1)]
    distinct = {(tuple(tokens), prefix) for examples in made for tokens, _, prefix in rows(examples)}
    assert len(distinct) > {"prefix": 100, "spans": 590, "mixture": 350}[objective.name]
    agreeing = (made[0].prefix == made[1].prefix) & (made[0].tokens == made[1].tokens).all(axis=1)
    assert agreeing.sum() < 30


def test_no_windows_are_no_examples() -> None:
    examples = make(MixtureObjective(), windows_of(0, 9), [])
    assert examples.tokens.shape == (0, example_length(MixtureObjective(), 8) + 1)


# --- each objective


def test_causal_examples_are_the_windows() -> None:
    windows = windows_of(3, 9)
    examples = make(CausalObjective(), windows, [0, 1, 2])
    np.testing.assert_array_equal(examples.tokens, windows)
    np.testing.assert_array_equal(examples.scored, [[False] + [True] * 8] * 3)
    np.testing.assert_array_equal(examples.prefix, [0, 0, 0])


def chi_square(counts: Any) -> float:
    """Standard deviations by which counts are further from equal than chance."""
    observed: npt.NDArray[np.float64] = np.array(list(counts), np.float64)
    statistic = float(((observed - observed.mean()) ** 2).sum() / observed.mean())
    return (statistic - (len(observed) - 1)) / math.sqrt(2 * (len(observed) - 1))


def test_prefixes_are_uniform_up_to_the_last_position_but_one() -> None:
    counts = Counter(make(PrefixObjective(), windows_of(4000, 11), np.arange(4000)).prefix.tolist())
    assert sorted(counts) == list(range(1, 10))
    assert chi_square(counts.values()) < 4
    assert make(PrefixObjective(), windows_of(50, 3), np.arange(50)).prefix.tolist() == [1] * 50


def expected_spans(size: int, noise: float, mean: float) -> tuple[int, int]:
    """Noise tokens and spans, from the rule as it is stated."""
    tokens = int(np.clip(np.round(size * noise), 1, size - 1))
    return tokens, int(np.clip(np.round(tokens / mean), 1, min(tokens, size - tokens)))


@given(spans, sizes, st.integers(0, 2**62))
def test_the_share_of_noise_and_the_number_of_spans_are_exact(objective: SpanObjective, size: int, at: int) -> None:
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
    """11 tokens, 5 of them in 3 spans: C(4, 2) ways to cut the spans times C(6, 3) for the gaps, each as likely."""
    objective = SpanObjective(noise=0.45, mean_span=1.7)
    windows = windows_of(12_000, 11)
    counts: Counter[tuple[tuple[int, ...], tuple[int, ...]]] = Counter()
    for example in rows(make(objective, windows, np.arange(12_000))):
        parts = Parts(objective, 11, *example)
        counts[tuple(map(len, [*parts.gaps, parts.behind])), tuple(map(len, parts.spans))] += 1
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
    """From behind the first token on to the window's end."""
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


# --- the mixture


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
            sum(map(len, [*parts.gaps, parts.behind])) + 1 + (len(parts.gaps) if parts.mode != "S" else 0) == example[2]
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


# --- prompts


@pytest.mark.parametrize(
    ("objective", "expected", "prefix"),
    [
        (CausalObjective(), [10, 11, 12], 0),
        (PrefixObjective(), [10, 11, 12], 3),
        (SpanObjective(), [10, 11, 12, VOCABULARY, VOCABULARY], 4),
        (MixtureObjective(), [VOCABULARY + 85 + 1, 10, 11, 12], 4),
        (MixtureObjective(denoisers=(Denoiser(mode="S", noise=0.25),)), [VOCABULARY + 1, 10, 11, 12], 4),
    ],
)
def test_prompts(objective: Objective, expected: list[int], prefix: int) -> None:
    """Among 513 tokens the mixture has at most 85 spans; S is the second of the modes behind their sentinels."""
    tokens = np.array([10, 11, 12], np.int32)
    made, found = make_prompt(objective, tokens, vocabulary_size=VOCABULARY, sequence_length=512)
    assert made.dtype == np.int32
    assert (made.tolist(), found) == (expected, prefix)


@pytest.mark.parametrize("objective", [PrefixObjective(), SpanObjective(mean_span=64), MixtureObjective()])
def test_a_prompt_is_how_examples_begin_that_predict_the_windows_end(objective: Objective) -> None:
    size, seen = 10, 0
    for example in rows(make(objective, windows_of(200, size), np.arange(200))):
        parts = Parts(objective, size, *example)
        if parts.behind or parts.mode in ("R", "X"):
            continue
        seen += 1
        start = np.array(parts.gaps[0], np.int32)
        prompt, prefix = make_prompt(objective, start, vocabulary_size=VOCABULARY, sequence_length=size - 1)
        assert (prompt.tolist(), prefix) == (example[0][: len(prompt)], example[2])
    assert seen > 10


# --- the stream never changes


GOLDEN_MIXTURE = MixtureObjective(
    denoisers=(
        Denoiser(mode="R", noise=0.15, mean_span=3.0),
        Denoiser(mode="S", noise=0.25),
        Denoiser(mode="X", noise=0.5, mean_span=2.0),
    )
)


@pytest.mark.parametrize(
    ("objective", "tokens", "prefix"),
    [
        (PrefixObjective(), [[*range(10, 22)]] * 3, [10, 5, 4]),
        (
            SpanObjective(noise=0.4, mean_span=2.0),
            [
                [10, 50, 13, 14, 51, 18, 19, 20, 21, 50, 11, 12, 51, 15, 16, 17, EOD],
                [10, 50, 12, 13, 14, 15, 16, 51, 21, 50, 11, 51, 17, 18, 19, 20, EOD],
                [10, 11, 12, 50, 15, 16, 17, 51, 21, 50, 13, 14, 51, 18, 19, 20, EOD],
            ],
            [9, 9, 9],
        ),
        (
            GOLDEN_MIXTURE,
            [
                [55, 10, 50, 12, 51, 15, 16, 17, 18, 52, 50, 11, 51, 13, 14, 52, 19, 20, 21, EOD],
                [54, *range(10, 22), *[EOD] * 7],
                [53, 10, 11, 50, *range(14, 22), 50, 12, 13, *[EOD] * 5],
            ],
            [10, 9, 12],
        ),
    ],
)
def test_examples_never_change(objective: Objective, tokens: list[list[int]], prefix: list[int]) -> None:
    windows = np.tile(np.arange(10, 22, dtype=np.int32), (3, 1))
    examples = make(objective, windows, [0, 2, 2**62], seed=7)
    assert examples.tokens.tolist() == tokens
    assert examples.prefix.tolist() == prefix


# --- the recipe


@pytest.mark.parametrize(
    ("objective", "sequence_length", "length", "extra"),
    [
        (CausalObjective(), 512, 512, 0),
        (PrefixObjective(), 512, 512, 0),
        (SpanObjective(), 512, 513 + 2 * 26, 26),
        (SpanObjective(), 2, 3 + 2, 1),
        (SpanObjective(noise=0.5, mean_span=1), 2048, 2049 + 2 * 1024, 1024),
        (MixtureObjective(), 512, 513 + 2 * 85 + 1, 85 + 3),
        (MixtureObjective(denoisers=(Denoiser(mode="S", noise=0.25),)), 512, 513, 3),
    ],
)
def test_room(objective: Objective, sequence_length: int, length: int, extra: int) -> None:
    assert example_length(objective, sequence_length) == length
    assert extra_tokens(objective, sequence_length) == extra


def test_recipes_name_objectives(tiny_recipe: RecipeMaker) -> None:
    assert tiny_recipe().training.objective == CausalObjective()
    spans = tiny_recipe("training.objective={name: spans, mean_span: 5}")
    assert spans.training.objective == SpanObjective(mean_span=5)
    mixture = tiny_recipe("training.objective={name: mixture, denoisers: [{mode: S, noise: 0.25}]}")
    assert mixture.training.objective == MixtureObjective(denoisers=(Denoiser(mode="S", noise=0.25),))
    assert tiny_recipe("training.objective.name=mixture").training.objective == MixtureObjective()
    assert loading.validate(mixture.model_dump()) == mixture


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "{name: mixture, denoisers: [{mode: S, noise: 0.25, mean_span: 3}]}",
            r"^training\.objective\.denoisers\.mean_span=3\.0: S predicts .* leave it out$",
        ),
        (
            "{name: mixture, denoisers: [{mode: X, noise: 0.5}]}",
            r"^training\.objective\.denoisers\.mean_span=None: X corrupts .* 3\.0 would do$",
        ),
        ("{name: mixture, denoisers: []}", r"^training\.objective\.denoisers=.*at least 1 item"),
        ("{name: mixture, denoisers: [{mode: Y, noise: 0.5}]}", r"^training\.objective\.denoisers\.0\.mode='Y'"),
        ("{name: mixture, denoisers: [{mode: S, noise: 0}]}", r"^training\.objective\.denoisers\.0\.noise=0"),
        ("{name: spans, noise: 1}", r"^training\.objective\.noise=1: .*less than 1"),
        ("{name: spans, mean_span: 0.5}", r"^training\.objective\.mean_span=0\.5: .*greater than or equal to 1"),
        ("{name: spans, mean_span: .nan}", r"^training\.objective\.mean_span=nan: "),
        ("{name: span}", r"^training\.objective\.name='span': expected one of .*did you mean 'spans'"),
    ],
)
def test_impossible_objectives_are_refused(tiny_recipe: RecipeMaker, objective: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_recipe(f"training.objective={objective}")
