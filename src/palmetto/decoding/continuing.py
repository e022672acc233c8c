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
    """Why it has ended, as of a choice."""


class Continuing:
    """Continues texts by a trained model."""

    def __init__(self, trained: TrainedModel, say: Callable[[str], None], drafting: Drafting | None = None) -> None:
        """Takes a model, and what guesses its tokens.

        `say` is called with a notice if a text is longer than those of training.
        """
        self.pieces = Pieces(trained.vocabulary)
        self._trained, self._say, self._drafting = trained, say, drafting or Drafting()
        self._engines: dict[int, Engine] = {}
        """Engines by the length of the longest sequence: several only where bits depend on it."""

    def run(
        self, prompts: Sequence[str], wish: Wish, hear: Callable[[str], None] = lambda text: None
    ) -> Iterator[list[Continued]]:
        """Yields the choices of each prompt, in order. `hear` is called with the text of any choice as it is made.

        Raises UserError for prompts that do not fit.
        """
        requests = [self._request(prompt, wish) for prompt in prompts]
        longest = max((len(request.prompt) for request in requests), default=1)
        self._trained.warn(longest, wish.tokens, self._say)
        try:
            apart = reads_whole_tables(self._trained.model)
            lengths = [len(request.prompt) if apart else longest for request in requests]
            engines = [self._fitting(length + wish.tokens, apart) for length in lengths]
            submitted = [(of, of.submit(request)) for of, request in zip(engines, requests, strict=True)]
            open_ = {
                (of, number, choice): Choice(
                    self.pieces, wish.stops, "surrogateescape", partial(of.cancel, number, choice)
                )
                for (of, number), choice in product(submitted, range(wish.choices))
            }
            made = {at: Delta() for at in open_}
            for of, number in submitted:
                own = [(of, number, choice) for choice in range(wish.choices)]
                while not all(open_[at].finish for at in own):
                    for event in of.step():
                        at = of, event.request, event.choice
                        if at in open_:  # and is not one that a stop string has ended in an earlier run
                            delta = open_[at].add(event.tokens, event.finish)
                            made[at].add(delta)
                            hear(delta.text)
                yield [_continued(made[at]) for at in own]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise too_large(longest, wish.tokens) from None

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

    def _fitting(self, positions: int, apart: bool) -> Engine:
        """Returns an engine for sequences of this many positions: one that suffices, if there is one.

        apart: texts of other lengths need other engines, for the bits that they have alone.
        """
        longest = max(SHORTEST, 1 << (positions - 1).bit_length())
        if not apart:
            longest = max([longest, *self._engines])
            self._engines = {length: engine for length, engine in self._engines.items() if length == longest}
        if longest not in self._engines:
            trained = self._trained
            models = [trained.model, *self._drafting.models]
            one = -(-longest // Limits.block) * max(block_bytes(model, Limits.block) for model in models)
            limits = Limits(rows=ROWS, sequences=ROWS, longest=longest, memory=max(Limits.memory, one))
            self._engines[longest] = trained.engine(limits, self._drafting.draft(trained, limits))
        return self._engines[longest]


def _continued(delta: Delta) -> Continued:
    assert delta.finish is not None
    return Continued(delta.text, [token for token, _ in delta.tokens], delta.finish)
