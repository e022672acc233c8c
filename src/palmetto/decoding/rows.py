"""Lays a plan out as the arrays of the compiled step."""

from typing import Any, NamedTuple

import numpy as np

from palmetto.decoding.sequences import Sequence
from palmetto.decoding.step import Rows
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.strategies.strategy import HUGE, Context
from palmetto.decoding.strategies.temperature import Draw
from palmetto.decoding.tables import Tables


class Share(NamedTuple):
    """Says which rows of a step compute which positions of a sequence."""

    sequence: Sequence
    first: int
    """The first of its rows."""
    known: int
    """The number of its next positions, whose tokens are known."""
    drafts: int
    """The number of positions behind them whose tokens are guessed."""

    @property
    def chooses(self) -> bool:
        """Says whether the last known token is among the rows, so that the next is chosen."""
        sequence = self.sequence
        return sequence.done + self.known == sequence.size and sequence.most > sequence.prompt


class Asked(NamedTuple):
    """Holds the arguments of the choice of tokens."""

    wanted: Any
    draw: Draw | None
    parameters: dict[str, Any]
    top: int


def lay_out(shares: list[Share], count: int, tables: Tables) -> Rows:
    """Returns a step of `count` rows, those without a share unused."""
    tokens, positions, prefix = (np.zeros(count, np.int32) for _ in range(3))
    sequences = np.full(count, tables.unused, np.int32)
    for sequence, first, known, drafts in shares:
        assert sequence.slot is not None
        rows, start, end = slice(first, first + known + drafts), sequence.done, sequence.done + known + drafts
        tokens[rows] = sequence.tokens[start:end]
        positions[rows] = np.arange(start, end)
        sequences[rows], prefix[rows] = sequence.slot, sequence.request.prefix
    return Rows(tokens, positions, sequences, prefix)  # type: ignore[arg-type]


def ask(shares: list[Share], count: int, vocabulary_size: int) -> Asked:
    """Returns what the rows of a step ask of the choice of tokens."""
    wanted, top = np.full(count, -1, np.int32), 0
    temperature, seeds = np.zeros(count, np.float32), np.zeros((count, 2), np.uint32)
    choices, positions = np.zeros(count, np.int32), np.zeros(count, np.int32)
    using: dict[str, dict[int, Context]] = {}
    for share in shares:
        sequence, request = share.sequence, share.sequence.request
        start, behind = sequence.done, sequence.done + share.known
        if sequence.echoed < sequence.prompt:
            scored = sequence.tokens[start + 1 : min(behind + 1, sequence.prompt)]
            wanted[share.first : share.first + len(scored)] = scored
        if share.chooses or sequence.echoed < sequence.prompt:
            top = max(top, request.top, request.beams and request.beams + len(request.stop))
        if not share.chooses or request.beams:
            continue
        last = share.first + share.known - 1
        rows = slice(last, last + 1 + share.drafts)
        temperature[rows], choices[rows] = min(request.sampling.temperature, HUGE), sequence.choice
        seeds[rows] = request.seed >> 32, request.seed & (2**32 - 1)
        positions[rows] = np.arange(behind, behind + 1 + share.drafts)
        for strategy in sequence.uses:
            of = using.setdefault(strategy.name, {})
            of.update({last + i: sequence.context(behind - 1 + i) for i in range(1 + share.drafts)})
    parameters = {
        strategy.name: strategy.parameters(using[strategy.name], count, vocabulary_size)
        for strategy in STRATEGIES
        if strategy.name in using
    }
    draw = Draw(temperature, seeds, choices, positions) if temperature.any() else None  # type: ignore[arg-type]
    return Asked(wanted, draw, parameters, 1 << (top - 1).bit_length() if top else 0)
