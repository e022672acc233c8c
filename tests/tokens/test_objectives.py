"""Tests that examples keep every token of a window and depend on the position alone."""

import numpy as np
import pytest
from hypothesis import given
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
from palmetto.tokens.objectives import make_infill, make_prompt
from tests.conftest import RecipeMaker
from tests.references.examples import (
    EOD,
    VOCABULARY,
    Parts,
    make,
    objectives,
    positions,
    reconstruct,
    rows,
    sizes,
    windows_of,
)


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
def test_something_is_scored_after_every_prefix(objective: Objective, size: int, at: list[int]) -> None:
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


def test_causal_examples_are_the_windows() -> None:
    windows = windows_of(3, 9)
    examples = make(CausalObjective(), windows, [0, 1, 2])
    np.testing.assert_array_equal(examples.tokens, windows)
    np.testing.assert_array_equal(examples.scored, [[False] + [True] * 8] * 3)
    np.testing.assert_array_equal(examples.prefix, [0, 0, 0])


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
    """Among 513 tokens the mixture has at most 85 spans; S is the second of the modes, which follow the sentinels."""
    tokens = np.array([10, 11, 12], np.int32)
    made, found = make_prompt(objective, tokens, vocabulary_size=VOCABULARY, sequence_length=512)
    assert made.dtype == np.int32
    assert (made.tolist(), found) == (expected, prefix)


@pytest.mark.parametrize("objective", [PrefixObjective(), SpanObjective(mean_span=64), MixtureObjective()])
def test_a_prompt_begins_like_examples_that_predict_the_end(objective: Objective) -> None:
    size, seen = 10, 0
    for example in rows(make(objective, windows_of(200, size), np.arange(200))):
        parts = Parts(objective, size, *example)
        if parts.rest or parts.mode in ("R", "X"):
            continue
        seen += 1
        start = np.array(parts.gaps[0], np.int32)
        prompt, prefix = make_prompt(objective, start, vocabulary_size=VOCABULARY, sequence_length=size - 1)
        assert (prompt.tolist(), prefix) == (example[0][: len(prompt)], example[2])
    assert seen > 10


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (CausalObjective(), None),
        (PrefixObjective(), None),
        (MixtureObjective(denoisers=(Denoiser(mode="S", noise=0.25),)), None),
        (SpanObjective(), ([10, 11, VOCABULARY, 12, VOCABULARY], 4)),
        (MixtureObjective(), ([VOCABULARY + 85, 10, 11, VOCABULARY, 12, VOCABULARY], 5)),
    ],
)
def test_a_gap_is_filled_where_spans_are(objective: Objective, expected: tuple[list[int], int] | None) -> None:
    before, after = np.array([10, 11], np.int32), np.array([12], np.int32)
    made = make_infill(objective, before, after, vocabulary_size=VOCABULARY, sequence_length=512)
    assert (made and (made[0].tolist(), made[1])) == expected


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
def test_room_for_sentinels_and_modes_is_added(
    objective: Objective, sequence_length: int, length: int, extra: int
) -> None:
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
