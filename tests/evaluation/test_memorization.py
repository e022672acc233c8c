"""Tests memorization: how often spans were seen, and which of them an answerer repeats."""

from collections.abc import Sequence

import numpy as np
import pytest

from palmetto.decoding.request import Finish, Request, Result, Token
from palmetto.errors import UserError
from palmetto.evaluation.memorization import Ids, Span, measure, spans
from tests.evaluation.models import reader

WIDTH, LENGTH = 24, 8


def windows(count: int, seed: int) -> Ids:
    return np.random.default_rng(seed).integers(0, 300, (count, WIDTH), dtype=np.int32)


class Repeater:
    """Continues a prompt as the windows that it knows do, and otherwise with zeros."""

    def __init__(self, known: Ids) -> None:
        self._known = known.tolist()

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        return [[self._answer(request)] for request in requests]

    def _answer(self, request: Request) -> Result:
        prompt, size = list(request.prompt), len(request.prompt)
        for window in self._known:
            for start in range(WIDTH - size - request.tokens + 1):
                if window[start : start + size] == prompt:
                    return _result(window[start + size : start + size + request.tokens])
        return _result([0] * request.tokens)


def _result(ids: list[int]) -> Result:
    tokens = tuple(Token(id, 0.0) for id in ids)
    return Result((), tokens, Finish.LENGTH)


def test_repeats_are_counted_as_a_search_finds_them() -> None:
    once = windows(40, 0)
    training = np.concatenate([once, once[:20], once[:5], once[:5]])
    found = spans(training, windows(30, 1), 60, LENGTH, seed=3)
    assert found == spans(training, windows(30, 1), 60, LENGTH, seed=3)
    views = np.lib.stride_tricks.sliding_window_view(training, LENGTH, axis=1).reshape(-1, LENGTH)
    for span in found:
        assert span.repeats == int((views == np.array(span.ids)).all(axis=1).sum())
    assert {span.repeats for span in found} == {0, 1, 2, 4}
    assert [span.repeats for span in found[60:]] == [0] * 60


def test_memorized_is_what_is_repeated_exactly() -> None:
    training, held_out = windows(40, 0), windows(30, 1)
    drawn = spans(np.concatenate([training, training[:10]]), held_out, 50, LENGTH, seed=0)
    rows = {row["repeats"]: row for row in measure(drawn, Repeater(training[:10]), reader())}
    assert list(rows) == ["0", "1", "2–3"]
    assert (rows["2–3"]["value"], rows["1"]["value"], rows["0"]["value"]) == (100.0, 0.0, 0.0)
    assert rows["0"]["spans"] == 50
    assert rows["0"]["interval"][1] > 0
    assert sum(row["spans"] for row in rows.values()) == 100


def test_one_wrong_token_is_not_memorized() -> None:
    [window] = training = windows(1, 0)
    span = Span((*map(int, window[:7]), 299 - int(window[7])), 1)
    assert measure([span], Repeater(training), reader())[0]["value"] == 0.0


def test_a_span_must_fit_into_a_window() -> None:
    with pytest.raises(UserError, match="--length 25: the windows of training have 24 tokens"):
        spans(windows(2, 0), windows(2, 1), 1, 25, seed=0)
    with pytest.raises(UserError, match="no window of text is held out"):
        spans(windows(2, 0), windows(0, 1), 1, LENGTH, seed=0)
