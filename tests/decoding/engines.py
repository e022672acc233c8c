"""Makes small engines, and drives them step by step."""

from collections import defaultdict
from typing import Any

from palmetto.decoding.engine import Engine, Limits
from palmetto.decoding.request import Event, Finish, Request, Token
from palmetto.decoding.runner import choose_tuning
from palmetto.model.held import hold
from palmetto.recipe.model import Weights
from tests.decoding.test_kinds import VOCABULARY, made

LONGEST = 40
"""The most positions of a sequence, in more than one part of 16."""

SMALL = Limits(rows=8, block=4, blocks=16, sequences=6, longest=LONGEST)

Answer = tuple[tuple[Token, ...], Finish | None]
"""All tokens of a choice, and why it ended."""


def engine(kind: str, limits: Limits = SMALL, weights: Weights | None = None, **others: Any) -> Engine:
    """Returns an engine of a kind of model; weights: the type that it holds them in, None for plain arrays."""
    model, arranged = made(kind)
    if weights is not None:
        arranged = hold(arranged, model, weights, choose_tuning(None))
    return Engine(arranged, model, limits, vocabulary_size=VOCABULARY, **others)


def stepped(of: Engine) -> list[Event]:
    """Returns the events of one step, after which no block is leaked."""
    events = of.step()
    of.scheduler.check()
    return events


def gathered(events: list[Event]) -> dict[tuple[int, int], Answer]:
    """Returns the answers by number of request and choice."""
    tokens, finish = defaultdict[tuple[int, int], tuple[Token, ...]](tuple), dict[tuple[int, int], Finish]()
    for event in events:
        tokens[event[:2]] += event.tokens
        if event.finish is not None:
            assert event[:2] not in finish, "a choice ends once"
            finish[event[:2]] = event.finish
    return {key: (own, finish.get(key)) for key, own in tokens.items()}


def finished(of: Engine) -> dict[tuple[int, int], Answer]:
    """Returns the answers to all that was submitted."""
    events = list[Event]()
    while of.busy:
        events += stepped(of)
    return gathered(events)


def alone(of: Engine, request: Request) -> tuple[Answer, ...]:
    """Returns the answers, one a choice, that an engine gives to one request."""
    number = of.submit(request)
    answers = finished(of)
    return tuple(answers[number, choice] for choice in range(request.choices))
