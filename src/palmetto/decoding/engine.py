"""Generates tokens for many requests at once, each as if it were alone.

Every step runs the model on a fixed number of rows, each a token with its position and its sequence: pieces of prompts,
the last tokens of sequences that are being continued, and guesses of what comes next. On a device, the bits of a row do
not depend on the other rows of such a step. See docs/decoding.md.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jaxlib.version
import numpy as np

from palmetto.decoding import step as compiled
from palmetto.decoding.blocks import Blocks
from palmetto.decoding.caches.paged import PagedCache
from palmetto.decoding.limits import Limits as Limits
from palmetto.decoding.limits import block_bytes
from palmetto.decoding.request import Event, Finish, Request, Result, Token
from palmetto.decoding.rows import Share, ask, lay_out
from palmetto.decoding.scheduling import Scheduler
from palmetto.decoding.sequences import Sequence
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.tables import Tables
from palmetto.decoding.validation import check
from palmetto.model.layout import Arranged
from palmetto.model.tuning import ACCELERATOR
from palmetto.native.library import kernels
from palmetto.parallel.sharding import Sharding
from palmetto.recipe.model import Model
from palmetto.recipe.parts import Kept


class Figures(NamedTuple):
    """Holds counts of an engine, some of now and some since it was made."""

    running: int
    """The number of sequences that run."""
    waiting: int
    """The number of sequences that wait."""
    rows: int
    """The number of rows that the last step used."""
    blocks_used: int
    """The number of blocks that sequences hold."""
    blocks_cached: int
    """The number of blocks that are kept for their content only."""
    blocks_free: int
    """The number of blocks that are neither."""
    paged_bytes: int
    """The bytes of the blocks that sequences hold."""
    contiguous_bytes: int
    """The bytes that as many running sequences would take if each had memory of its own for the longest."""
    hits: int
    """The number of positions since the start that were found in the cache, and so not computed."""
    preemptions: int
    drafted: int
    """The number of guessed tokens since the start."""
    accepted: int
    """The number of these that were drawn."""


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
    ) -> None:
        """Takes weights as arranged for DECODING; only tokens below `vocabulary_size` are generated.

        Raises UserError for limits that cannot be.
        """
        self.model, self.limits, self.vocabulary_size = model, limits.check(), vocabulary_size
        self._arranged, self._sharding = arranged, sharding
        self._tuning = ACCELERATOR
        self.longest = limits.positions(model)
        """The most positions of a sequence."""
        count = limits.count(model)
        self._learned = compiled.learn(arranged, model, self.longest)
        shape = (count + 1, model.key_value_heads, limits.block, model.query_size)
        self._cache = self._placed(PagedCache.empty(model.layers, shape, model.activations))
        tables = Tables(limits.sequences, limits.entries(model), limits.block, limits.turns(model))
        self.scheduler = Scheduler(Blocks(count), tables, limits.block, limits.rows, window(model))
        self._open: dict[int, dict[int, Sequence]] = {}
        self._early: list[Event] = []
        self._submitted = self._rows = self._drafted = self._accepted = 0
        sizes = limits.rows, limits.block, self.longest, vocabulary_size, sharding.sizes if sharding else {}
        where = jaxlib.version.__version__, jax.devices()[0].device_kind, self._tuning, kernels().name
        all_of_it = model.model_dump_json(), str(arranged.embedding.dtype), sizes, where
        self.fingerprint = hashlib.sha256(repr(all_of_it).encode()).hexdigest()[:16]
        """The digest of all that bits depend on besides the weights and the request."""

    @property
    def busy(self) -> bool:
        """Whether any request has not ended."""
        return bool(self._open or self._early)

    def submit(self, request: Request) -> int:
        """Returns the number of a request, which runs from the next step on.

        It gets as many tokens as fit into the longest sequence. Raises UserError for what can never be served.
        """
        check(request, self.model, self.limits, self.longest, len(self._arranged.embedding))
        number, self._submitted = self._submitted, self._submitted + 1
        length = len(request.prompt)
        most = min(length + request.tokens, self.longest + 1)
        self.scheduler.check_fits(request.prefix, most - 1)
        choices = self._open[number] = {}
        for choice in range(request.choices):
            choices[choice] = self._sequence(request, number, choice, most, choices.get(0))
        for sequence in list(choices.values()):
            if most == length and (sequence.pending <= 0 or sequence.echoed == length):
                self._early.append(self._ended(sequence, self._echo(sequence, 1, None), Finish.LENGTH))
            elif sequence.constraint is not None and sequence.allowed is None:
                self._early.append(self._ended(sequence, [], Finish.STOP))
            else:
                self.scheduler.add(sequence)
        return number

    def cancel(self, number: int) -> None:
        """Ends a request; its rows and blocks are free at the next step, which reports it. Others are not touched."""
        for sequence in list(self._open.get(number, {}).values()):
            self.scheduler.remove(sequence)
            self._early.append(self._ended(sequence, [], Finish.CANCELLED))

    def step(self) -> list[Event]:
        """Computes one step and returns what it has brought; does nothing if nobody waits."""
        events, self._early = self._early, []
        plan = self.scheduler.plan()
        if plan.copies:
            self._copy(plan.copies)
        if not plan.shares:
            assert events or not self._open, "the first sequence can always go on"
            return events
        shares, row = list[Share](), 0
        for sequence, count in plan.shares:
            shares.append(Share(sequence, row, count, 0))
            row += count
        self._rows = row
        chosen = self._compute(shares, plan.rows)
        for share in shares:
            events += self._advance(share, chosen)
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
        results = []
        for number, request in asked.items():
            echoed = len(request.prompt) if request.echo else 0
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
        sequence.echoed = 0 if request.echo and choice == 0 else length
        if request.constraint is not None:
            sequence.constraint = request.constraint()
            sequence.allowed = sequence.constraint.allowed()
        context = sequence.context(length - 1)
        sequence.uses = tuple(strategy for strategy in STRATEGIES if strategy.used(context))
        return sequence

    def _placed(self, cache: PagedCache) -> PagedCache:
        if self._sharding is None:
            return cache
        there, everywhere = self._sharding.place((None, *self._sharding.cache[1:])), self._sharding.place()
        placed: PagedCache = jax.tree.map(
            lambda array: jax.device_put(array, there if array.ndim == 4 else everywhere), cache
        )
        return placed

    def _everywhere(self, arrays: Any) -> Any:
        return arrays if self._sharding is None else self._sharding.everywhere(arrays)

    def _compute(self, shares: list[Share], count: int) -> compiled.Chosen:
        """Runs the model on the rows of a step, and returns the choices on the host."""
        tables = self.scheduler.tables
        rows, asked = lay_out(shares, count, tables), ask(shares, count, self.vocabulary_size)
        # Copies, since tables change while arrays of the host may still be those of the device.
        entries = tables.blocks.copy(), tables.starts.copy()
        rows, entries, wanted, draw, parameters = self._everywhere(
            (rows, entries, asked.wanted, asked.draw, asked.parameters)
        )
        cache = self._cache.with_tables(*entries)
        scores, self._cache = compiled.forward(self._arranged, self._learned, rows, cache, self.model, self._tuning)
        chosen: compiled.Chosen = jax.device_get(
            compiled.choose(scores, wanted, draw, parameters, asked.top, self.vocabulary_size)
        )
        return chosen

    def _copy(self, copies: dict[int, int]) -> None:
        """Copies blocks, at least as many as there may be sequences, so that there are few programs."""
        count = max(self.limits.sequences, 1 << (len(copies) - 1).bit_length())
        pairs = np.zeros((2, count), np.int32)
        pairs[:, : len(copies)] = list(copies.values()), list(copies)
        self._cache = compiled.copy(self._cache, *self._everywhere((pairs[0], pairs[1])))

    def _advance(self, share: Share, chosen: compiled.Chosen) -> list[Event]:
        """Returns the events of a sequence's rows."""
        sequence, chooses = share.sequence, share.chooses
        tokens = self._echo(sequence, sequence.done + share.known + 1, chosen, share)
        self.scheduler.computed(sequence, share.known)
        finish = None
        if chooses:
            tokens.append(_token(sequence, chosen, share.first + share.known - 1))
            finish = self._accept(sequence, tokens[-1].id)
        elif sequence.pending <= 0:
            finish = Finish.LENGTH
        if finish is not None:
            self.scheduler.remove(sequence)
            return [self._ended(sequence, tokens, finish)]
        return [Event(sequence.number, sequence.choice, tuple(tokens))] if tokens else []

    def _echo(
        self, sequence: Sequence, known: int, chosen: compiled.Chosen | None, share: Share | None = None
    ) -> list[Token]:
        """Returns the tokens of the prompt up to `known` that have not been reported."""
        tokens = []
        for position in range(sequence.echoed, min(known, sequence.prompt)):
            if position < max(1, sequence.request.prefix) or chosen is None or share is None:
                tokens.append(Token(int(sequence.tokens[position]), None))
            else:
                tokens.append(_token(sequence, chosen, share.first + position - 1 - sequence.done))
        sequence.echoed += len(tokens)
        return tokens

    def _accept(self, sequence: Sequence, token: int) -> Finish | None:
        """Appends a token to a sequence; returns why it ends, if it does."""
        sequence.tokens[sequence.size] = token
        sequence.size += 1
        if token in sequence.request.stop:
            return Finish.STOP
        if sequence.constraint is not None:
            sequence.constraint.accept(token)
            sequence.allowed = sequence.constraint.allowed()
            if sequence.allowed is None:
                return Finish.STOP
        return Finish.LENGTH if sequence.size == sequence.most else None

    def _ended(self, sequence: Sequence, tokens: list[Token], finish: Finish) -> Event:
        choices = self._open[sequence.number]
        del choices[sequence.choice]
        if not choices:
            del self._open[sequence.number]
        return Event(sequence.number, sequence.choice, tuple(tokens), finish)


def window(model: Model) -> Kept | None:
    """Returns which positions any query sees, if all layers have the same window; None if they are all positions."""
    if model.attention.period(model.layers) != 1:
        return None
    band = model.attention.band
    return Kept(0, band.window) if band is not None and band.window is not None else model.attention.kept


def _token(sequence: Sequence, chosen: compiled.Chosen, row: int) -> Token:
    count = sequence.request.top
    top = zip(chosen.top[row, :count].tolist(), chosen.top_logprobs[row, :count].tolist(), strict=True)
    return Token(int(chosen.tokens[row]), float(chosen.logprobs[row]), tuple(top))
