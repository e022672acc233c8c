"""Tests what constraints allow, why choices that follow them end, and what leaves no token."""

import math
import unittest.mock
from dataclasses import replace

import numpy as np
import pytest

from palmetto.decoding.drafts import Lookup
from palmetto.decoding.request import Finish, Request
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from tests.decoding.engines import alone, engine, finished
from tests.decoding.test_kinds import VOCABULARY
from tests.references.panic import Panic

PROMPT = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5)
KIND = "grouped queries"


class EvenUntil:
    """Allows even tokens, until so many were generated."""

    def __init__(self, left: int) -> None:
        self._left = left

    def allowed(self) -> np.ndarray | None:
        return np.arange(VOCABULARY) % 2 == 0 if self._left else None

    def accept(self, token: int) -> None:
        assert token % 2 == 0
        self._left -= 1

    @property
    def finish(self) -> Finish:
        return Finish.LENGTH if self._left else Finish.STOP


def test_a_constraint_decides_what_may_come_next() -> None:
    free = Request(PROMPT, 12, Sampling(1.5), top=1)
    of = engine(KIND, draft=Lookup(1))
    number = of.submit(replace(free, choices=2, constraint=lambda: EvenUntil(7)))
    other = of.submit(free)
    answers = finished(of)
    for choice in range(2):
        tokens, finish = answers[number, choice]
        assert (len(tokens), finish) == (7, Finish.STOP)
        assert all(token.id % 2 == 0 for token in tokens)
    assert (answers[other, 0],) == alone(engine(KIND), free), "others are free"
    assert alone(of, replace(free, constraint=lambda: EvenUntil(0))) == (((), Finish.STOP),)


def test_a_constraint_is_asked_once_for_each_token() -> None:
    asked = list[int]()

    class Counted(EvenUntil):
        def allowed(self) -> np.ndarray | None:
            asked.append(self._left)
            return super().allowed()

    engine(KIND).run([Request(PROMPT, 12, constraint=lambda: Counted(3))])
    assert asked == [3, 2, 1, 0]


@pytest.mark.parametrize("prompt", [PROMPT, PROMPT[:1]])
def test_a_prompt_is_echoed_though_no_token_may_follow(prompt: tuple[int, ...]) -> None:
    of, made = engine(KIND), iter([EvenUntil(0), EvenUntil(2)])
    [[scored]] = of.run([Request(prompt, 0, echo=True)])
    echoing = Request(prompt, 9, echo=True, choices=2, constraint=lambda: next(made))
    [[first, second]] = of.run([echoing])
    assert first == scored._replace(finish=Finish.STOP)
    assert (second.prompt, len(second.tokens), second.finish) == (scored.prompt, 2, Finish.STOP)


class Fails(EvenUntil):
    """Gives up after two tokens."""

    def allowed(self) -> np.ndarray | None:
        return super().allowed() if self._left > 1 else None


def test_a_constraint_that_gives_up_ends_for_length() -> None:
    [[result]] = engine(KIND).run([Request(PROMPT, 12, constraint=lambda: Fails(3))])
    assert (len(result.tokens), result.finish) == (2, Finish.LENGTH)


def test_what_a_constraint_and_bans_leave_together() -> None:
    even = tuple(range(0, VOCABULARY, 2))
    free = Request(PROMPT, 12, constraint=lambda: EvenUntil(7))
    of = engine(KIND)
    for sampling, length, finish in (
        (Sampling(banned=even[1:]), 7, Finish.STOP),
        (Sampling(banned=even), 0, Finish.DEAD_END),
        (Sampling(logit_bias=tuple((token, -math.inf) for token in even)), 0, Finish.DEAD_END),
        (Sampling(forced=(2, 4, 3)), 2, Finish.DEAD_END),
    ):
        number, other = of.submit(replace(free, sampling=sampling)), of.submit(Request(PROMPT, 3))
        answers = finished(of)
        tokens, end = answers[number, 0]
        assert (len(tokens), end) == (length, finish)
        assert answers[other, 0][1] == Finish.LENGTH


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(banned=tuple(range(VOCABULARY))), "banned: all tokens; expected to leave one that may be generated"),
        (
            Sampling(banned=tuple(range(20)), logit_bias=tuple((i, -math.inf) for i in range(20, VOCABULARY))),
            "banned: all tokens; expected to leave one that may be generated",
        ),
        (Sampling(banned=(3,), forced=(2, 3)), "forced: token 3 is banned too; expected one that may be generated"),
    ],
)
def test_sampling_that_leaves_no_token_is_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        engine(KIND).submit(Request(PROMPT, 12, sampling))


def test_a_constraint_that_cannot_begin_leaves_no_request() -> None:
    def broken() -> EvenUntil:
        raise RuntimeError("broken")

    of = engine(KIND)
    with pytest.raises(RuntimeError):
        of.submit(Request(PROMPT, 12, constraint=broken))
    assert not of.busy


class Panics(EvenUntil):
    """Fails after two tokens."""

    def allowed(self) -> np.ndarray | None:
        if self._left == 1:
            raise Panic("broken")
        return super().allowed()


def test_a_constraint_that_fails_ends_its_choice_alone() -> None:
    free, of = Request(PROMPT, 12, Sampling(1.5)), engine(KIND)
    made = iter([Panics(3), EvenUntil(7), Panics(1)])
    number = of.submit(replace(free, choices=2, constraint=lambda: next(made)))
    first, other = of.submit(replace(free, constraint=lambda: next(made))), of.submit(free)
    answers = finished(of)
    ends = [(len(tokens), finish) for tokens, finish in (answers[number, 0], answers[number, 1], answers[first, 0])]
    assert ends == [(2, Finish.FAILED), (7, Finish.STOP), (0, Finish.FAILED)]
    assert (answers[other, 0],) == alone(engine(KIND), free)
    with pytest.raises(AssertionError, match="a constraint has failed"):
        of.run([replace(free, constraint=lambda: Panics(3))])


def test_ctrl_c_ends_more_than_a_choice() -> None:
    def interrupted() -> EvenUntil:
        made = EvenUntil(3)
        made.accept = unittest.mock.Mock(side_effect=KeyboardInterrupt)  # type: ignore[method-assign]
        return made

    of = engine(KIND)
    of.submit(Request(PROMPT, 12, constraint=interrupted))
    with pytest.raises(KeyboardInterrupt):
        finished(of)


class EvenAbove(EvenUntil):
    """Allows even tokens but 0, which is what a choice among no numbers would give."""

    def allowed(self) -> np.ndarray | None:
        allowed = super().allowed()
        return None if allowed is None else allowed & (np.arange(VOCABULARY) > 0)

    def accept(self, token: int) -> None:
        assert token > 0
        super().accept(token)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1e308),
        Sampling(1.0, top_p=1e-300),
        Sampling(1.0, typical_p=1e-300),
        Sampling(1.0, top_k=10**400),
        Sampling(1.0, repetition_penalty=1e-300, top_p=0.5),
        Sampling(1.0, repetition_penalty=1e300),
        Sampling(1.0, presence_penalty=-1e300, frequency_penalty=-1e300, min_p=0.5),
        Sampling(1.0, logit_bias=((4, 1e300), (6, 1e300))),
    ],
    ids=str,
)
def test_extreme_settings_draw_allowed_tokens(sampling: Sampling) -> None:
    request = Request(PROMPT, 6, sampling, constraint=lambda: EvenAbove(6))
    [[result]] = engine(KIND).run([request])
    assert len(result.tokens) == 6
