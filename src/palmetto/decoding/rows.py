"""Lays a plan out as the arrays of the compiled step."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.decoding.sequences import Sequence
from palmetto.decoding.step import Rows, Use
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.strategies.strategy import HUGE, Context, Sizes, Strategy
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

    @property
    def echoed(self) -> slice:
        """The rows behind which a token of the prompt follows whose log-probability is asked for."""
        sequence, behind = self.sequence, self.sequence.done + self.known
        count = min(behind + 1, sequence.prompt) - sequence.done - 1 if sequence.echoed < sequence.prompt else 0
        return slice(self.first, self.first + max(0, count))

    @property
    def choosing(self) -> slice:
        """The rows behind which tokens are chosen: the last known one and guesses, if any."""
        last = self.first + self.known - 1
        return slice(last, last + 1 + self.drafts if self.chooses else last)


class Asked(NamedTuple):
    """Holds the arguments of the choice of tokens."""

    wanted: npt.NDArray[np.int32]
    draw: Draw
    processed: npt.NDArray[np.bool_]
    """The rows that report the probabilities by which they choose."""
    uses: dict[str, Use]
    top: int
    """The number of most probable tokens that any row reports."""


ASSORTMENTS = (), tuple(strategy for strategy in STRATEGIES if not strategy.long), STRATEGIES
"""The strategies that a program holds, the smallest first. A step takes the first program that has all that it uses.

The one without strategies reports no processed probabilities.
"""


def lay_out(shares: list[Share], count: int, tables: Tables) -> Rows:
    """Returns a step of `count` rows, those without a share unused."""
    tokens, positions, prefix = (np.zeros(count, np.int32) for _ in range(3))
    sequences = np.full(count, tables.unused, np.int32)
    scored = np.zeros(count, bool)
    for share in shares:
        sequence, first, known, drafts = share
        assert sequence.slot is not None
        scored[share.echoed] = scored[share.choosing] = True
        rows, start, end = slice(first, first + known + drafts), sequence.done, sequence.done + known + drafts
        tokens[rows] = sequence.tokens[start:end]
        positions[rows] = np.arange(start, end)
        sequences[rows], prefix[rows] = sequence.slot, sequence.request.prefix
    return Rows(tokens, positions, sequences, prefix, scored)  # type: ignore[arg-type]


def ask(shares: list[Share], sizes: Sizes) -> Asked:
    """Returns what the rows of a step ask of the choice of tokens."""
    asked = ask_nothing(sizes)
    (wanted, draw, processed, _, top), using = asked, dict[str, dict[int, Context]]()
    for share in shares:
        sequence, request = share.sequence, share.sequence.request
        start, behind = sequence.done, sequence.done + share.known
        echoed = share.echoed
        wanted[echoed] = sequence.tokens[start + 1 : start + 1 + echoed.stop - echoed.start]
        if share.chooses or sequence.echoed < sequence.prompt:
            top = max(top, request.top, request.beams and request.beams + len(request.stop))
        if not share.chooses or request.beams:
            continue
        rows, last = share.choosing, share.choosing.start
        draw.temperature[rows], draw.choices[rows] = min(request.sampling.temperature, HUGE), sequence.choice
        draw.seeds[rows] = request.seed >> 32, request.seed & (2**32 - 1)
        draw.positions[rows] = np.arange(behind, behind + 1 + share.drafts)
        processed[rows] = request.processed
        for strategy in sequence.uses:
            of = using.setdefault(strategy.name, {})
            of.update({last + i: sequence.context(behind - 1 + i) for i in range(1 + share.drafts)})
    enough = ASSORTMENTS[1:] if processed.any() else ASSORTMENTS
    held = next(each for each in enough if using.keys() <= {strategy.name for strategy in each})
    return asked._replace(uses=_uses(held, using, sizes), top=top)


def ask_nothing(sizes: Sizes, held: tuple[Strategy, ...] = (), top: int = 0) -> Asked:
    """Returns what rows ask that choose greedily, of a program that holds some strategies."""
    temperature, seeds = np.zeros(sizes.rows, np.float32), np.zeros((sizes.rows, 2), np.uint32)
    choices, positions = np.zeros(sizes.rows, np.int32), np.zeros(sizes.rows, np.int32)
    draw = Draw(temperature, seeds, choices, positions)  # type: ignore[arg-type]
    wanted, processed = np.full(sizes.rows, -1, np.int32), np.zeros(sizes.rows, np.bool_)
    return Asked(wanted, draw, processed, _uses(held, {}, sizes), top)


def _uses(held: tuple[Strategy, ...], using: dict[str, dict[int, Context]], sizes: Sizes) -> dict[str, Use]:
    """Returns what a step asks of the strategies that its program holds, given the rows that use them."""
    uses = {}
    for strategy in held:
        rows = using.get(strategy.name, {})
        marks = np.zeros(sizes.rows, np.bool_)
        marks[list(rows)] = True
        uses[strategy.name] = Use(marks, strategy.parameters(rows, sizes))  # type: ignore[arg-type]
    return uses
