"""Generates tokens for many requests at once, each as if it were alone.

Every step runs the model on rows, each a token with its position and its sequence: pieces of prompts, the last tokens
of sequences that are being continued, and guesses of what comes next. The bits of a row do not depend on the other
rows: kernels compute each by itself, or else the number of rows is fixed. See docs/decoding.md.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from palmetto.decoding.beams import Beams, Hypothesis
from palmetto.decoding.blocks import Blocks
from palmetto.decoding.drafts import Draft, Ids
from palmetto.decoding.figures import Figures
from palmetto.decoding.limits import Limits as Limits
from palmetto.decoding.limits import block_bytes
from palmetto.decoding.request import Event, Finish, Request, Result, Token
from palmetto.decoding.rows import Share
from palmetto.decoding.runner import Computed, Program, Runner
from palmetto.decoding.scheduling import Plan, Scheduler
from palmetto.decoding.sequences import Sequence
from palmetto.decoding.step import Top
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.tables import Tables
from palmetto.decoding.validation import check
from palmetto.model.layout import Arranged
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Kept

GUESSES = 4
"""The most tokens that are guessed at a time."""


class Engine:
    """Holds a model, its cache, and the requests that wait or run."""

    def __init__(
        self,
        arranged: Arranged,
        model: Model,
        limits: Limits,
        *,
        vocabulary_size: int,
        sharding: Sharding | None = None,
        draft: Draft | None = None,
    ) -> None:
        """Takes weights as arranged for DECODING; only tokens below `vocabulary_size` are generated.

        draft: what guesses tokens, if anything does. Raises UserError for limits that cannot be.
        """
        self.model, self.limits, self.vocabulary_size = model, limits.check(), vocabulary_size
        self.longest = limits.positions(model)
        """The most positions of a sequence."""
        count = limits.count(model)
        self._model = Runner(arranged, model, limits, count, vocabulary_size, sharding)
        self.fingerprint = self._model.fingerprint
        """The digest of all that bits depend on besides the weights and the request."""
        tables = Tables(limits.sequences, limits.entries(model), limits.block, limits.turns(model))
        self.scheduler = Scheduler(Blocks(count), tables, limits.block, limits.rows, window(model))
        self._draft = draft
        self._open: dict[int, dict[int, Sequence]] = {}
        self._searches: dict[int, Beams] = {}
        self._events: list[Event] = []
        self._submitted = self._rows = self._drafted = self._accepted = 0

    def programs(self, prefix: int = 0) -> list[Program]:
        """Returns all that requests can need to be compiled, so that none waits for it once each has been called.

        prefix: the length of the longest prefix whose positions see each other.
        """
        assert not self.busy
        own = self._model.programs(self.scheduler.tables, prefix)
        return own if self._draft is None else own + self._draft.programs()

    @property
    def busy(self) -> bool:
        """Says whether any request has not ended."""
        return bool(self._open or self._events)

    def submit(self, request: Request, first: int = 0) -> int:
        """Returns the number of a request, which runs from the next step on.

        It gets as many tokens as fit into the longest sequence. first: the number of its first choice.
        Raises UserError for what can never be served.
        """
        check(request, self.model, self.limits, self.longest, self._model.vocabulary, self.vocabulary_size)
        length = len(request.prompt)
        most = min(length + request.tokens, self.longest + 1)
        self.scheduler.check_fits(request.prefix, most - 1, max(1, request.beams))
        number, self._submitted = self._submitted, self._submitted + 1
        choices: dict[int, Sequence] = {}
        for choice in range(first, first + (1 if request.beams or most == length else request.choices)):
            choices[choice] = self._sequence(request, number, choice, most, choices.get(first))
        self._open[number] = choices
        for sequence in list(choices.values()):
            if most > length and (finish := sequence.allow()) is not None:
                sequence.most, sequence.ended = length, finish
            if sequence.most == length and (sequence.pending <= 0 or sequence.echoed == length):
                self._end(sequence, self._echo(sequence, 1, None), sequence.ended or Finish.LENGTH)
            else:
                context = sequence.context(length - 1)
                sequence.uses = tuple(strategy for strategy in STRATEGIES if strategy.used(context))
                self.scheduler.add(sequence)
                if request.beams:
                    self._searches[number] = Beams(sequence, self.scheduler)
        return number

    def cancel(self, number: int, choice: int | None = None) -> None:
        """Ends a request; its rows and blocks are free at the next step, which reports it. Others are not touched.

        choice: the one that ends, None for all. A beam search ends as a whole.
        """
        if (search := self._searches.get(number)) is not None:
            search.stop()
            self._end_search(number, [])
        for sequence in list(self._open.get(number, {}).values()):
            if choice in (None, sequence.choice):
                self.scheduler.remove(sequence)
                self._end(sequence, [], Finish.CANCELLED)

    def step(self) -> list[Event]:
        """Computes one step and returns what it has brought; does nothing if nobody waits."""
        plan = self.scheduler.plan()
        if plan.copies:
            self._model.copy(plan.copies)
        if plan.shares:
            shares, rows = self._shares(plan)
            computed = self._model.compute(shares, rows, self.scheduler.tables)
            for share in shares:
                self._advance(share, computed)
        assert self._events or not self.busy or plan.shares, "the first sequence can always go on"
        events, self._events = self._events, []
        return events

    def run(self, requests: Iterable[Request]) -> list[list[Result]]:
        """Returns the results of all requests, each with its choices in order."""
        numbers = [self.submit(request) for request in requests]
        tokens: defaultdict[tuple[int, int], list[Token]] = defaultdict(list)
        finish: dict[tuple[int, int], Finish] = {}
        asked = dict(zip(numbers, requests, strict=True))
        while self.busy:
            for event in self.step():
                tokens[event.request, event.choice] += event.tokens
                if event.finish is not None:
                    finish[event.request, event.choice] = event.finish
        assert Finish.FAILED not in finish.values(), "a constraint has failed"
        results = []
        for number, request in asked.items():
            echoed = len(request.prompt) - request.echo_from if request.echo else 0
            of = [tokens[number, choice] for choice in range(request.choices)]
            prompt = tuple(of[0][:echoed])
            of[0] = of[0][echoed:]
            results.append([Result(prompt, tuple(own), finish[number, i]) for i, own in enumerate(of)])
        return results

    def figures(self) -> Figures:
        """Returns the counts of now."""
        scheduler, blocks = self.scheduler, self.scheduler.blocks
        used, one = blocks.count - blocks.available, block_bytes(self.model, self.limits.block)
        return Figures(
            len(scheduler.running),
            len(scheduler.waiting),
            self._rows,
            used,
            blocks.cached,
            blocks.free,
            used * one,
            len(scheduler.running) * -(-self.longest // self.limits.block) * one,
            scheduler.hits,
            scheduler.preemptions,
            self._drafted,
            self._accepted,
        )

    def _sequence(self, request: Request, number: int, choice: int, most: int, first: Sequence | None) -> Sequence:
        """Returns a choice of a request, of up to `most` tokens; `first` is the first one."""
        length = len(request.prompt)
        tokens = np.zeros(most + 1, np.int32)
        tokens[:length] = request.prompt
        sequence = Sequence(request, number, choice, tokens, length, most, parent=first)
        sequence.echoed = request.echo_from if request.echo and first is None else length
        if request.constraint is not None:
            sequence.constraint = request.constraint()
        return sequence

    def _shares(self, plan: Plan) -> tuple[list[Share], int]:
        """Returns which rows compute what, rows that are left being for guesses, and how many rows there are."""
        guesses: dict[Sequence, Ids] = {}
        known = sum(count for _, count in plan.shares)
        guessed = []
        if self._draft is not None:
            guessed = [s for s, count in plan.shares if Share(s, 0, count, 0).chooses and s.guessed]
        rows = self._model.rows(max(known, min(1 + GUESSES, self.limits.rows) if guessed else 0))
        left = rows - known
        if self._draft is not None and left and guessed:
            most = min(GUESSES, -(-left // len(guessed)))
            guesses = dict(zip(guessed, self._draft.propose(guessed, most), strict=True))
        shares, row = [], 0
        for sequence, count in plan.shares:
            drafts = self._guess(sequence, guesses[sequence], left) if sequence in guesses else 0
            shares.append(Share(sequence, row, count, drafts))
            row, left = row + count + drafts, left - drafts
            self._drafted += drafts
        self._rows = row
        return shares, rows

    def _guess(self, sequence: Sequence, guess: Ids, most: int) -> int:
        """Returns how many of the guesses, `most` at most, a step computes; they stand behind the known tokens then."""
        guess = guess[: min(most, sequence.most - sequence.size - 1)]
        drafts = self.scheduler.draft(sequence, len(guess)) if len(guess) else 0
        sequence.tokens[sequence.size : sequence.size + drafts] = guess[:drafts]
        return drafts

    def _advance(self, share: Share, computed: Computed) -> None:
        """Notes what a sequence's rows have brought."""
        sequence, chooses, row = share.sequence, share.chooses, share.first + share.known - 1
        tokens: list[Token] = []
        if sequence.echoed < sequence.prompt:
            tokens = self._echo(sequence, sequence.done + share.known + 1, computed, share)
        self.scheduler.computed(sequence, share.known)
        finish = None if chooses or sequence.pending > 0 else sequence.ended or Finish.LENGTH
        if chooses and sequence.request.beams:
            if tokens:
                self._events.append(Event(sequence.number, sequence.choice, tuple(tokens)))
            self._search(sequence, computed, row)
            return
        for guess in range(1 + share.drafts if chooses else 0):
            guessed = sequence.tokens[sequence.size]
            tokens.append(_token(sequence, computed, row + guess, sequence.request.processed))
            finish = self._accept(sequence, tokens[-1].id)
            if finish is not None or guess == share.drafts or guessed != tokens[-1].id:
                break
            self.scheduler.computed(sequence, 1)
            self._accepted += 1
        if finish is not None:
            self.scheduler.remove(sequence)
            self._end(sequence, tokens, finish)
        elif tokens:
            self._events.append(Event(sequence.number, sequence.choice, tuple(tokens)))

    def _search(self, sequence: Sequence, computed: Computed, row: int) -> None:
        """Hands the most probable tokens after a beam to its search."""
        request = sequence.request
        top = _top(computed.top, row, request.top) if request.top else ()
        pairs = _top(computed.top, row, request.candidates)
        ended = self._searches[sequence.number].take(sequence, [Token(*pair, top) for pair in pairs])
        if ended is not None:
            self._end_search(sequence.number, ended)

    def _end_search(self, number: int, ended: list[tuple[Hypothesis, Finish]]) -> None:
        """Reports a search's hypotheses as choices; those that there are not have no tokens."""
        [sequence] = self._open.pop(number).values()
        del self._searches[number]
        none = [((), Finish.LENGTH if ended else Finish.CANCELLED)] * (sequence.request.choices - len(ended))
        for choice, (tokens, finish) in enumerate([*((h.tokens, finish) for h, finish in ended), *none]):
            self._events.append(Event(number, choice, tokens, finish))

    def _echo(
        self, sequence: Sequence, known: int, computed: Computed | None, share: Share | None = None
    ) -> list[Token]:
        """Returns the tokens of the prompt up to `known` that have not been reported."""
        tokens = []
        for position in range(sequence.echoed, min(known, sequence.prompt)):
            if position < max(1, sequence.request.prefix) or computed is None or share is None:
                tokens.append(Token(int(sequence.tokens[position]), None))
            else:
                tokens.append(_token(sequence, computed, share.first + position - 1 - sequence.done))
        sequence.echoed += len(tokens)
        return tokens

    def _accept(self, sequence: Sequence, token: int) -> Finish | None:
        """Appends a token to a sequence; returns why it ends, if it does."""
        sequence.tokens[sequence.size] = token
        sequence.size += 1
        if token in sequence.request.stop:
            return Finish.STOP
        if (finish := sequence.allow(token)) is not None:
            return finish
        return Finish.LENGTH if sequence.size == sequence.most else None

    def _end(self, sequence: Sequence, tokens: list[Token], finish: Finish) -> None:
        """Reports the end of a choice; where no tokens were asked for, one stands for all choices of its request."""
        choices = self._open[sequence.number]
        del choices[sequence.choice]
        if not choices:
            del self._open[sequence.number]
        self._events.append(Event(sequence.number, sequence.choice, tuple(tokens), finish))
        if sequence.most == sequence.prompt and sequence.ended is None:
            others = range(sequence.choice + 1, sequence.choice + sequence.request.choices)
            self._events += [Event(sequence.number, other, (), finish) for other in others]


def window(model: Model) -> Kept | None:
    """Returns which positions any query sees, if all layers have the same window; None if they are all positions."""
    if model.attention.period(model.layers) != 1:
        return None
    band = model.attention.band
    return Kept(0, band.window) if band is not None and band.window is not None else model.attention.kept


def _top(top: Top | None, row: int, count: int) -> tuple[tuple[int, float], ...]:
    assert top is not None
    tokens, logprobs = (array[row, :count].tolist() for array in top)
    return tuple(zip(tokens, logprobs, strict=True))


def _token(sequence: Sequence, computed: Computed, row: int, processed: bool = False) -> Token:
    count, tops = sequence.request.top, computed.own_top if processed else computed.top
    top = _top(tops, row, count) if count else ()
    return Token(computed.tokens[row], computed.logprobs[row], top)
