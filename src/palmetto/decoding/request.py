"""Describes what the engine is asked for and what it answers: token ids and log-probabilities, never text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from palmetto.decoding.sampling import Sampling

GREEDY = Sampling()

TOP = 20
"""The largest number of most probable tokens that are reported."""

PENALTY = 0.6
"""The usual length penalty of beam searches."""


class Finish(StrEnum):
    """Says why a choice has ended."""

    STOP = "stop"
    """It generated a token of `stop`, or its constraint allows no more."""
    LENGTH = "length"
    """It has as many tokens as were asked for, or as many as fit, or its constraint became too large to follow."""
    DEAD_END = "dead end"
    """No token may come next, and the constraint is not met."""
    FAILED = "failed"
    """The code of its constraint has failed."""
    CANCELLED = "cancelled"
    """`Engine.cancel` was called."""


class Constraint(Protocol):
    """Decides which tokens a choice may generate next, such as a grammar."""

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        """Returns which tokens may come next, [V]; None if none may."""

    def accept(self, token: int) -> None:
        """Notes the token that was generated."""

    @property
    def finish(self) -> Finish:
        """Says why the choice ends if no token may come next: STOP if the tokens so far are what is wanted."""


@dataclass(frozen=True)
class Request:
    """Asks for continuations of one prompt.

    What comes of a request depends on nothing but the request and the engine's configuration: not on other requests,
    nor on how its prompt is cut into chunks, nor on what is cached.
    """

    prompt: tuple[int, ...]
    """The ids of the prompt, at least one; whoever wants [eod] in front of it puts it there."""
    tokens: int = 16
    """The most tokens to generate; 0 only scores the prompt."""
    sampling: Sampling = GREEDY
    seed: int = 0
    """The seed of sampling; the key of a token is a function of seed, choice and position."""
    choices: int = 1
    """The number of continuations, which share the prompt's cache."""
    beams: int = 0
    """The width of a beam search, which replaces sampling; 0 for none. The best `choices` beams are the answer."""
    length_penalty: float = PENALTY
    """GNMT's α of the beam search (arXiv 1609.08144, equation 14), over generated tokens."""
    stop: frozenset[int] = frozenset()
    """The ids that end a choice. Such a token is reported with its log-probability, as the choice's last."""
    top: int = 0
    """The number of most probable tokens to report at each position, 0 to 20."""
    processed: bool = False
    """Says whether log-probabilities of generated tokens are those by which they are chosen, after all strategies."""
    echo: bool = False
    """Says whether the prompt's tokens are reported too, with log-probabilities equal to those of generating them."""
    echo_from: int = 0
    """The first position of the prompt that `echo` reports; those before it may be found in the cache."""
    prefix: int = 0
    """The number of first positions of the prompt that see each other."""
    priority: int = 0
    """Requests of a higher priority are served first; among equals, those that came first."""
    constraint: Callable[[], Constraint] | None = None
    """Makes the constraint of each choice; None if every token may be generated."""
    ended: Callable[[Sequence[int]], bool] | None = None
    """Says whether the generated ids of a beam end it, as a token of `stop` does; None if nothing else ends one."""

    @property
    def candidates(self) -> int:
        """The number of most probable tokens after a beam that are looked at, so that enough of them go on.

        It is 0 without beams. What `ended` says cannot be counted: then it is twice as many, as is usual.
        """
        return self.beams and self.beams + len(self.stop) + (self.beams if self.ended else 0)


class Token(NamedTuple):
    """Reports one token of a prompt or of a choice."""

    id: int
    logprob: float | None
    """The natural logarithm of its probability by the model, before any strategy unless `processed`; None for a
    prompt's first token."""
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens at its position with their log-probabilities, in order; of equals, the lower id first.
    """


class Event(NamedTuple):
    """Reports what a step of the engine has brought for one choice of a request."""

    request: int
    """The number that `Engine.submit` returned."""
    choice: int
    """The number of the choice, from 0. Tokens of an echoed prompt are reported once, for choice 0."""
    tokens: tuple[Token, ...]
    finish: Finish | None = None
    """The reason why the choice has ended, with its last event."""


class Result(NamedTuple):
    """Holds a whole choice."""

    prompt: tuple[Token, ...]
    """The prompt's tokens, if `echo`."""
    tokens: tuple[Token, ...]
    finish: Finish
