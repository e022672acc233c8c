"""Tests beam search against an exhaustive search over all texts."""

import itertools

import numpy as np
import pytest

from palmetto.decoding.beams import length_penalty
from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Finish, Request
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from tests.decoding.engines import SMALL, alone, engine, finished, stepped
from tests.decoding.test_kinds import made

KIND = "grouped queries"
PROMPT = (3, 1, 4, 1, 5, 9, 2)
FEW, STOP, LENGTH = 3, 1, 4
"""The tokens that may be chosen, the one that ends a text, and its greatest length."""

WIDE = Limits(rows=64, block=4, sequences=64, longest=24)


def few(limits: Limits = WIDE) -> Engine:
    model, arranged = made(KIND)
    return Engine(arranged, model, limits, vocabulary_size=FEW)


def texts() -> list[tuple[int, ...]]:
    """Returns all texts that end with STOP, or are as long as may be."""
    found = []
    for length in range(1, LENGTH + 1):
        for text in itertools.product(range(FEW), repeat=length):
            if STOP not in text[:-1] and (text[-1] == STOP or length == LENGTH):
                found.append(text)
    return found


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
def test_a_wide_search_finds_what_an_exhaustive_one_does(penalty: float) -> None:
    of, scored = few(), []
    results = of.run([Request((*PROMPT, *text), 0, echo=True) for text in texts()])
    for text, [result] in zip(texts(), results, strict=True):
        logprobs = [token.logprob or 0.0 for token in result.prompt[len(PROMPT) :]]
        scored.append((sum(logprobs) / length_penalty(len(text), penalty), text, logprobs))
    scored.sort(key=lambda item: -item[0])
    request = Request(PROMPT, LENGTH, beams=40, choices=5, length_penalty=penalty, stop=frozenset({STOP}))
    for (_, text, logprobs), (tokens, finish) in zip(scored, alone(few(), request), strict=False):
        assert tuple(token.id for token in tokens) == text
        assert [token.logprob for token in tokens] == logprobs
        assert finish == (Finish.STOP if text[-1] == STOP else Finish.LENGTH)


def test_what_ends_a_beam_ends_it_as_a_stop_token_does() -> None:
    by_token = Request(PROMPT, LENGTH, beams=40, choices=5, stop=frozenset({STOP}))
    by_text = Request(PROMPT, LENGTH, beams=40, choices=5, ended=lambda ids: ids[-1] == STOP)
    assert alone(few(), by_text) == alone(few(), by_token)
    with pytest.raises(UserError, match="ended: expected with beams only"):
        few().submit(Request(PROMPT, LENGTH, ended=lambda ids: True))


@pytest.mark.parametrize("beams", [1, 2])
def test_tokens_that_end_a_beam_leave_room_for_others(beams: int) -> None:
    """Most of the tokens end a text, and the others must be found behind them."""
    by_token = Request(PROMPT, LENGTH, beams=beams, length_penalty=2.0, stop=frozenset({0, 1}))
    by_text = Request(PROMPT, LENGTH, beams=beams, length_penalty=2.0, ended=lambda ids: ids[-1] < 2)
    assert alone(few(), by_text) == alone(few(), by_token)


def test_gnmt_length_penalty_is_over_generated_tokens() -> None:
    assert [length_penalty(length, 0.6) for length in (1, 7)] == pytest.approx([1.0, 2**0.6])


def test_one_beam_is_greedy() -> None:
    greedy = alone(engine(KIND), Request(PROMPT, 12, top=2))
    assert alone(engine(KIND), Request(PROMPT, 12, beams=1, top=2)) == greedy


def test_beams_are_the_same_in_company_and_when_preempted() -> None:
    request = Request(PROMPT, 20, beams=3, choices=2, top=1)
    expected = alone(engine(KIND, Limits(rows=8, block=4, blocks=21, sequences=3, longest=SMALL.longest)), request)
    for sequences in (6, 4):
        of = engine(KIND, Limits(rows=8, block=4, blocks=21, sequences=sequences, longest=SMALL.longest))
        others = [Request(PROMPT[:3], 30, Sampling(1.0), seed=i, priority=i % 2) for i in range(3)]
        numbers = [of.submit(other) for other in others[:2]]
        searches = [of.submit(request), of.submit(request)]
        numbers.append(of.submit(others[2]))
        got = finished(of)
        for number in searches:
            assert tuple(got[number, choice] for choice in range(2)) == expected
        assert all(got[number, 0][1] == Finish.LENGTH for number in numbers)
    assert of.figures().preemptions > 0


def test_beams_share_the_blocks_of_the_prompt() -> None:
    of, most = engine(KIND), 0
    of.submit(Request((*PROMPT, *PROMPT), 2, beams=4))
    while of.busy:
        stepped(of)
        most = max(most, of.figures().blocks_used)
    assert most <= 3 + 4


def test_a_cancelled_search_leaves_nothing_behind() -> None:
    of = engine(KIND)
    number = of.submit(Request(PROMPT, 8, beams=3, choices=2))
    for _ in range(5):
        stepped(of)
    of.cancel(number)
    events = stepped(of)
    assert [(event.choice, event.finish) for event in events] == [(0, Finish.CANCELLED), (1, Finish.CANCELLED)]
    assert not of.busy
    assert of.figures().blocks_used == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(PROMPT, beams=7), "beams=7: expected 0 to 6"),
        (Request(PROMPT, beams=2, choices=3), "choices=3: expected at most beams=2"),
        (Request(PROMPT, beams=2, sampling=Sampling(1.0)), "sampling: expected none with beams"),
        (Request(PROMPT, 30, beams=2), "take 18 blocks of cache; there are 16"),
    ],
    ids=["wide", "choices", "sampling", "blocks"],
)
def test_searches_that_cannot_be_are_refused(request_: Request, message: str) -> None:
    with pytest.raises(UserError, match=message):
        engine(KIND).submit(request_)


def test_log_probabilities_of_beams_do_not_rise() -> None:
    answers = alone(few(), Request(PROMPT, LENGTH, beams=9, choices=9, length_penalty=0.0))
    totals = [sum(token.logprob or 0.0 for token in tokens) for tokens, _ in answers]
    assert np.all(np.diff(totals) <= 0)
