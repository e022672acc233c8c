"""Tests that what comes of a request depends on the request alone, bit for bit, for random schedules of others."""

from functools import cache
from itertools import cycle
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.decoding.caches import paged
from palmetto.decoding.drafts import Lookup
from palmetto.decoding.engine import Limits
from palmetto.decoding.request import Event, Finish, Request
from palmetto.decoding.sampling import Sampling
from palmetto.native import library
from palmetto.recipe.model import Weights
from tests.conftest import slow_but
from tests.decoding.engines import LONGEST, SMALL, Answer, alone, engine, gathered, stepped
from tests.decoding.test_kinds import KINDS, LENGTH, VOCABULARY, made

QUICK = ("grouped queries",)
WEIGHTS: dict[str, Weights] = dict(zip(KINDS, cycle(get_args(Weights)), strict=False))
"""The type that each kind's weights are held in: all types occur, and a kind is compiled for one."""
PRODUCTS = dict(zip(KINDS, cycle((library.NATIVE, library.XLA)), strict=False))
"""The library of each kind's products; each pair of a library and a type occurs."""

TEXTS = tuple(tuple((7 * i * i + 3 * i + 11 * text) % VOCABULARY for i in range(LONGEST)) for text in range(2))
"""Beginnings that prompts share."""

SAMPLINGS = (
    Sampling(),
    Sampling(1.0),
    Sampling(0.7, top_k=5, top_p=0.9),
    Sampling(1.5, repetition_penalty=1.3, frequency_penalty=0.2, logit_bias=((3, 1.5),), typical_p=0.9),
)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divides the tables of these sequences into several parts."""
    monkeypatch.setattr(paged, "PART", 16)


def limits(kind: str) -> Limits:
    return Limits(rows=8, block=4, blocks=9, sequences=6, longest=LENGTH) if "learned" in kind else SMALL


@cache
def answers(kind: str, request: Request) -> tuple[Answer, ...]:
    return alone(engine(kind, limits(kind), WEIGHTS[kind]), request)


def takes_prefix(kind: str) -> bool:
    model, _ = made(kind)
    return model.attention.takes_prefix and (model.positions.name != "t5" or "bidirectional" in kind)


@st.composite
def requests(draw: st.DrawFn, kind: str) -> Request:
    longest = limits(kind).longest
    length = draw(st.integers(1, longest - 2))
    shared = draw(st.integers(0, length))
    own = draw(st.lists(st.integers(0, VOCABULARY - 1), min_size=length - shared, max_size=length - shared))
    return Request(
        (*draw(st.sampled_from(TEXTS))[:shared], *own),
        tokens=draw(st.integers(0, longest - length)),
        sampling=draw(st.sampled_from(SAMPLINGS)),
        seed=draw(st.sampled_from((0, 2**40))),
        choices=draw(st.integers(1, 3)),
        stop=draw(st.sampled_from((frozenset(), frozenset({1, 2, 3})))),
        top=draw(st.sampled_from((0, 3))),
        processed=draw(st.booleans()),
        echo=draw(st.booleans()),
        prefix=draw(st.sampled_from((0, length, (length + 1) // 2))) if takes_prefix(kind) else 0,
        priority=draw(st.integers(0, 1)),
    )


@pytest.mark.parametrize("kind", slow_but(QUICK, KINDS))
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_an_answer_is_the_same_alone_and_in_company(
    kind: str, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setenv(library.VARIABLE, PRODUCTS[kind])
    asked = data.draw(st.lists(requests(kind), min_size=2, max_size=7))
    arrivals = data.draw(st.lists(st.integers(0, 6), min_size=len(asked), max_size=len(asked)))
    cancels = data.draw(st.lists(st.sampled_from((None, None, 1, 4, 9)), min_size=len(asked), max_size=len(asked)))
    draft = data.draw(st.sampled_from((None, Lookup(1))))
    of, events, numbers, now = engine(kind, limits(kind), WEIGHTS[kind], draft=draft), [], dict[int, int](), 0
    while of.busy or len(numbers) < len(asked):
        for i, (request, arrival, cancel) in enumerate(zip(asked, arrivals, cancels, strict=True)):
            if arrival == now:
                numbers[i] = of.submit(request)
            if cancel == now and i in numbers:
                of.cancel(numbers[i])
        events += stepped(of)
        now += 1
    got = gathered(events)
    for i, request in enumerate(asked):
        for choice, (tokens, finish) in enumerate(answers(kind, request)):
            in_company, end = got[numbers[i], choice]
            if end == Finish.CANCELLED:
                assert in_company == tokens[: len(in_company)]
            else:
                assert (in_company, end) == (tokens, finish)
    assert of.figures().blocks_used == 0


@pytest.mark.slow
def test_sixty_four_sequences_have_the_bits_of_each_alone() -> None:
    limits, kind = Limits(rows=64, block=4, sequences=64, longest=LONGEST), QUICK[0]
    requests = [
        Request(TEXTS[i % 2][: 1 + i % 9], 6, SAMPLINGS[i % 4], seed=i, top=2, choices=1 + i % 2) for i in range(43)
    ]
    of, running, events = engine(kind, limits), list[int](), list[Event]()
    numbers = [of.submit(request) for request in requests]
    while of.busy:
        events += stepped(of)
        running.append(of.figures().running)
    got, single = gathered(events), engine(kind, limits)
    for number, request in zip(numbers, requests, strict=True):
        assert tuple(got[number, choice] for choice in range(request.choices)) == alone(single, request)
    assert max(running) == 64
