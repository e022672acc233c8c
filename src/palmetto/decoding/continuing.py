"""Continues texts with an engine: many prompts at a time, each with the same bits as alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple

import jax

from palmetto.decoding.cached import reads_whole_tables
from palmetto.decoding.choices import Choice, Delta
from palmetto.decoding.drafting import Drafting
from palmetto.decoding.engine import Engine
from palmetto.decoding.generate import ROWS, SHORTEST, check_room, too_large
from palmetto.decoding.limits import Limits, block_bytes
from palmetto.decoding.request import Constraint, Request, Token
from palmetto.decoding.sampling import Sampling
from palmetto.decoding.text import Pieces, ended_by
from palmetto.decoding.trained import TrainedModel


@dataclass(frozen=True)
class Wish:
    """Says how texts are continued."""

    tokens: int
    sampling: Sampling
    seed: int = 0
    choices: int = 1
    beams: int = 0
    stops: tuple[str, ...] = ()
    top: int = 0
    """The number of most probable tokens to report at each position."""
    constraint: Callable[[], Constraint] | None = None


class Continued(NamedTuple):
    """Holds a continuation."""

    text: str
    tokens: list[Token]
    """The generated tokens; the last may be one of the vocabulary's ends, or complete a stop string."""
    finish: str
    """The reason why it has ended, as of a choice."""


class Continuing:
    """Continues texts by a trained model."""

    def __init__(self, trained: TrainedModel, say: Callable[[str], None], drafting: Drafting | None = None) -> None:
        """Takes a model, and what guesses its tokens.

        `say` is called with a notice if a text is longer than those of training.
        """
        self.pieces = Pieces(trained.vocabulary)
        self._trained, self._say, self._drafting = trained, say, drafting or Drafting()
        self._engine: Engine | None = None
        self._longest = 0
        """The length of the engine's longest sequence."""

    def run(
        self, prompts: Sequence[str], wish: Wish, hear: Callable[[str], None] = lambda text: None
    ) -> Iterator[list[Continued]]:
        """Yields the choices of each prompt, in order. `hear` is called with the text of any choice as it is made.

        Raises UserError for prompts that do not fit.
        """
        requests = [self._request(prompt, wish) for prompt in prompts]
        longest = max((len(request.prompt) for request in requests), default=1)
        self._trained.warn(longest, wish.tokens, self._say)
        lengths = self._lengths(requests)
        finished, yielded = dict[int, list[Continued]](), 0
        try:
            for length in sorted(set(lengths)):
                own = [place for place, of in enumerate(lengths) if of == length]
                continued = self._together(self._fitting(length), [requests[place] for place in own], wish, hear)
                for place, choices in zip(own, continued, strict=True):
                    finished[place] = choices
                    while yielded in finished:
                        yield finished.pop(yielded)
                        yielded += 1
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise too_large(longest, wish.tokens) from None

    def _together(
        self, engine: Engine, requests: Sequence[Request], wish: Wish, hear: Callable[[str], None]
    ) -> Iterator[list[Continued]]:
        """Yields the choices of each request, in order; the engine computes all of them together."""
        numbers = [engine.submit(request) for request in requests]
        open_ = {
            at: Choice(self.pieces, wish.stops, "surrogateescape", partial(engine.cancel, *at))
            for at in product(numbers, range(wish.choices))
        }
        made = {at: Delta() for at in open_}
        for number in numbers:
            own = [(number, choice) for choice in range(wish.choices)]
            while not all(open_[at].finish for at in own):
                for event in engine.step():
                    at = event.request, event.choice
                    if at in open_:  # and is not one that a stop string has ended in an earlier run
                        delta = open_[at].add(event.tokens, event.finish)
                        made[at].add(delta)
                        hear(delta.text)
            yield [_continued(made[at]) for at in own]

    def _request(self, prompt: str, wish: Wish) -> Request:
        ids, prefix = self._trained.prompt(prompt)
        check_room(len(ids), wish.tokens, self._trained.model)
        return Request(
            tuple(ids.tolist()),
            tokens=wish.tokens,
            sampling=wish.sampling,
            seed=wish.seed,
            choices=wish.choices,
            beams=wish.beams,
            stop=frozenset(self._trained.vocabulary.ends),
            ended=ended_by(wish.stops, self.pieces) if wish.beams else None,
            top=wish.top,
            prefix=prefix,
            constraint=wish.constraint,
        )

    def _lengths(self, requests: Sequence[Request]) -> list[int]:
        """Returns the length of the longest sequence in the engine of each request, a power of two.

        It is the same for all, unless bits depend on it: then a text has those that it has alone.
        """
        lengths = [max(SHORTEST, 1 << (len(of.prompt) + of.tokens - 1).bit_length()) for of in requests]
        return lengths if reads_whole_tables(self._trained.model) else [max(lengths, default=0)] * len(lengths)

    def _fitting(self, longest: int) -> Engine:
        """Returns an engine for sequences of this many positions: the one there is, if it suffices.

        Only the last one is kept, since each takes the memory of its cache.
        """
        suffices = longest == self._longest if reads_whole_tables(self._trained.model) else longest <= self._longest
        if self._engine is None or not suffices:
            trained, self._engine, self._longest = self._trained, None, longest
            models = [trained.model, *self._drafting.models]
            one = -(-longest // Limits.block) * max(block_bytes(model, Limits.block) for model in models)
            limits = Limits(rows=ROWS, sequences=ROWS, longest=longest, memory=max(Limits.memory, one))
            self._engine = trained.engine(limits, self._drafting.draft(trained, limits))
        return self._engine


def _continued(delta: Delta) -> Continued:
    assert delta.finish is not None
    return Continued(delta.text, [token for token, _ in delta.tokens], delta.finish)
