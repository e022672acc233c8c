"""Tests guesses: that they save steps, and that they change nothing else."""

import numpy as np
import pytest

from palmetto.decoding.drafts import Draft, Ids, Lookup
from palmetto.decoding.engine import Limits
from palmetto.decoding.request import Request
from palmetto.decoding.sampling import Sampling
from palmetto.decoding.sequences import Sequence
from palmetto.decoding.smaller import SmallerModel
from tests.decoding.engines import SMALL, alone, engine, finished

KIND = "grouped queries"
PROMPT = (3, 1, 4, 1, 5, 9, 2, 6, 3, 1, 4)
SAMPLINGS = (Sampling(), Sampling(0.7, top_k=5), Sampling(1.0, repetition_penalty=1.5))


class Anything:
    """Guesses what a text of its own says, be it right or wrong."""

    def __init__(self, text: list[int], wrong: frozenset[int] = frozenset()) -> None:
        self._text = [(token + 1) % 40 if i in wrong else token for i, token in enumerate(text)]

    def propose(self, sequences: list[Sequence], count: int) -> list[Ids]:
        return [np.array(self._text[s.size - s.prompt :][:count], np.int32) for s in sequences]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "seeded", "penalized"])
def test_guesses_do_not_change_the_answer(sampling: Sampling) -> None:
    request = Request(PROMPT, 20, sampling, seed=3, top=2)
    [answer] = alone(engine(KIND), request)
    text = [token.id for token in answer[0]]
    for wrong in (frozenset(), frozenset({2, 7, 8, 15}), frozenset(range(20))):
        of = engine(KIND, draft=Anything(text, wrong))
        assert alone(of, request) == (answer,)
        assert of.figures().accepted == {0: 16, 4: 14, 20: 0}[len(wrong)]


@pytest.mark.parametrize("draft", [Lookup(2), "smaller"], ids=["lookup", "smaller model"])
def test_drafts_leave_all_answers_as_they_are(draft: Draft | str) -> None:
    requests = [Request(PROMPT[i:], 18, SAMPLINGS[i % 3], seed=i, choices=1 + i % 2) for i in range(4)]
    expected = [alone(engine(KIND), request) for request in requests]
    guessing = SmallerModel(engine("multi-head")) if isinstance(draft, str) else draft
    of = engine(KIND, draft=guessing)
    numbers = [of.submit(request) for request in requests]
    got = finished(of)
    for number, request, answers in zip(numbers, requests, expected, strict=True):
        assert tuple(got[number, choice] for choice in range(request.choices)) == answers
    assert of.figures().drafted > 0


def test_a_model_guesses_what_it_draws_itself() -> None:
    """With the request's own key and forced tokens, a draft of the same model is always right."""
    request = Request(PROMPT, 16, Sampling(1.2, forced=(3, 8)), seed=9)
    [answer] = alone(engine(KIND), request)
    of = engine(KIND, draft=SmallerModel(engine(KIND)))
    assert alone(of, request) == (answer,)
    assert of.figures().accepted == of.figures().drafted > 0


def test_lookup_continues_the_last_occurrence() -> None:
    tokens = np.array([5, 1, 2, 7, 8, 1, 2, 9, 6, 1, 2, 0], np.int32)
    sequence = Sequence(Request((0,)), 0, 0, tokens, 11, 12)
    assert [guess.tolist() for guess in Lookup(2).propose([sequence], 3)] == [[9, 6, 1]]
    sequence.size = 4
    assert [guess.tolist() for guess in Lookup(2).propose([sequence], 3)] == [[]]
    assert [guess.tolist() for guess in Lookup(5).propose([sequence], 3)] == [[]]


def test_guesses_take_no_blocks_from_others() -> None:
    tight = Limits(rows=8, block=4, blocks=10, sequences=3, longest=SMALL.longest)
    requests = [Request(PROMPT[i:], 8, seed=i) for i in range(3)]
    expected = [alone(engine(KIND, tight), request) for request in requests]
    of = engine(KIND, tight, draft=Anything(list(range(40))))
    numbers = [of.submit(request) for request in requests]
    got = finished(of)
    assert [(got[number, 0],) for number in numbers] == expected
    plain = engine(KIND, tight)
    plain.run(requests)
    assert of.figures().preemptions == plain.figures().preemptions
