"""Follows what the engine reports for the prompts of one HTTP request."""

import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

from palmetto.decoding.choices import Choice, Delta
from palmetto.decoding.request import Finish, Token
from palmetto.decoding.text import Pieces
from palmetto.serving.errors import busy
from palmetto.serving.worker import Call


class Prompt(NamedTuple):
    """Holds the prompt of a request as the client gave it."""

    ids: tuple[int, ...]
    """Its ids, as they are echoed."""
    hidden: int
    """The number of tokens that stand before them in the engine's prompt, which are not reported."""


class Follower:
    """Follows all choices of a call, numbered through: those of the first prompt, then those of the next."""

    def __init__(
        self, call: Call, prompts: Sequence[Prompt], pieces: Pieces, stops: Sequence[str], echo: bool, seconds: float
    ) -> None:
        self._call, self._prompts, self._echo = call, prompts, echo
        self._each = call.requests[0].choices
        self._deadline = call.submitted + seconds
        self._echoed: list[list[Token]] = [[] for _ in prompts]
        self._told: set[int] = set()
        self.choices = [
            Choice(pieces, stops, end=partial(call.end_choice, prompt, choice))
            for prompt, choice in product(range(len(prompts)), range(self._each))
        ]

    def end(self) -> None:
        """Ends what is unfinished."""
        self._call.end()

    @property
    def prompt_tokens(self) -> int:
        """Returns the number of tokens of all prompts."""
        return sum(len(request.prompt) for request in self._call.requests)

    @property
    def generated_tokens(self) -> int:
        """Returns the number of tokens of all choices."""
        return sum(choice.generated for choice in self.choices)

    async def deltas(self) -> AsyncIterator[tuple[int, Delta] | None]:
        """Yields what comes of each choice, and None after a silence, until all choices have ended.

        What is unfinished when the time is up ends there. Raises ApiError if nothing had begun by then.
        """
        async for news in self._call.news(self._deadline):
            if not news:
                yield None
            for prompt, event in news:
                number = prompt * self._each + event.choice
                delta = self._delta(prompt, number, event.tokens, event.finish)
                if delta is not None:
                    yield number, delta
            if all(choice.finish for choice in self.choices):
                return
        if not self._told:
            raise busy("no room came free in time", round(time.monotonic() - self._call.submitted))
        for number, choice in enumerate(self.choices):
            if not choice.finish:
                yield number, self._delta(number // self._each, number, (), Finish.LENGTH) or Delta(finish="length")

    def _delta(self, prompt: int, number: int, tokens: Sequence[Token], finish: Finish | None) -> Delta | None:
        """Returns what an event brings for a choice, None if it brings nothing.

        The engine reports the tokens of an echoed prompt once, before any other and for the first choice.
        """
        asked, choice = self._call.requests[prompt], self.choices[number]
        if asked.echo and (lacking := len(asked.prompt) - len(self._echoed[prompt])) > 0:
            self._echoed[prompt] += tokens[:lacking]
            tokens = tokens[lacking:]
            if len(self._echoed[prompt]) < len(asked.prompt) and not finish:
                return None
        if choice.finish or not (tokens or finish):
            return None
        delta = Delta()
        if number not in self._told:
            self._told.add(number)
            if self._echo:
                given = self._prompts[prompt]
                delta = choice.echo(given.ids, self._echoed[prompt][given.hidden :])
        delta.add(choice.add(tokens, finish))
        return delta
