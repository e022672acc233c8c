"""Lays a plan out as the arrays of the compiled step."""

from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.decoding.sequences import Sequence
from palmetto.decoding.step import Rows, Use
from palmetto.decoding.strategies import STRATEGIES
from palmetto.decoding.strategies.strategy import HUGE, Context, Sizes, Strategy
from palmetto.decoding.strategies.temperature import Draw
from palmetto.decoding.tables import Tables


@dataclass(eq=False, slots=True)
class Share:
    """Says which rows of a step compute which positions of a sequence, as it is before the step."""

    sequence: Sequence
    first: int
    """The first of its rows."""
    known: int
    """The number of its next positions, whose tokens are known."""
    drafts: int
    """The number of positions after them whose tokens are guessed."""
    chooses: bool = field(init=False)
    """Says whether the last known token is among the rows, so that the next is chosen."""
    echoed: range = field(init=False)
    """The rows after which a token of the prompt follows whose log-probability is asked for."""
    choosing: range = field(init=False)
    """The rows after which tokens are chosen: the last known one and guesses, if any."""
    quiet: bool = field(init=False)
    """Says whether the rows ask for nothing but the most probable token."""

    def __post_init__(self) -> None:
        sequence, behind, last = self.sequence, self.sequence.done + self.known, self.first + self.known - 1
        self.chooses = behind == sequence.size and sequence.most > sequence.prompt
        self.choosing = range(last, last + 1 + self.drafts if self.chooses else last)
        self.echoed = range(0)
        if sequence.echoed < sequence.prompt:
            self.echoed = range(self.first, self.first + max(0, min(behind + 1, sequence.prompt) - sequence.done - 1))
        self.quiet = (sequence.plain or not self.chooses) and not self.echoed


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
    """Returns a step of `count` rows, those without a share unused. The rows of the shares follow each other."""
    # Lists grow faster than slices of arrays are assigned, of which most would have one element.
    tokens: list[int] = []
    positions: list[int] = []
    slots: list[int] = []
    prefixes: list[int] = []
    scored = [False] * count
    for share in shares:
        sequence, done, own = share.sequence, share.sequence.done, share.known + share.drafts
        assert sequence.slot is not None
        tokens += sequence.tokens[done : done + own].tolist()
        positions += range(done, done + own)
        slots += [sequence.slot] * own
        prefixes += [sequence.request.prefix] * own
        for row in chain(share.echoed, share.choosing):
            scored[row] = True

    def column(values: list[int], unused: int = 0) -> Any:
        return np.array(values + [unused] * (count - len(values)), np.int32)

    of = column(tokens), column(positions), column(slots, tables.unused), column(prefixes)
    return Rows(*of, np.array(scored))  # type: ignore[arg-type]


def reported(shares: list[Share]) -> int:
    """Returns the number of most probable tokens that any row of a step reports."""
    reporting = [s.sequence.reported for s in shares if s.chooses or s.sequence.echoed < s.sequence.prompt]
    return max(reporting, default=0)


def ask(shares: list[Share], sizes: Sizes) -> Asked:
    """Returns what the rows of a step ask of the choice of tokens."""
    asked = ask_nothing(sizes)._replace(top=reported(shares))
    (wanted, draw, processed, _, _), using = asked, dict[str, dict[int, Context]]()
    for share in shares:
        sequence, request = share.sequence, share.sequence.request
        if echoed := share.echoed:
            wanted[echoed] = sequence.tokens[sequence.done + 1 : sequence.done + 1 + len(echoed)]
        if not share.chooses or request.beams:
            continue
        behind = sequence.done + share.known
        for i, row in enumerate(share.choosing):
            if request.sampling.temperature:
                draw.temperature[row], draw.choices[row] = min(request.sampling.temperature, HUGE), sequence.choice
                draw.seeds[row], draw.positions[row] = (request.seed >> 32, request.seed & (2**32 - 1)), behind + i
            processed[row] = request.processed
            for strategy in sequence.uses:
                using.setdefault(strategy.name, {})[row] = sequence.context(behind - 1 + i)
    if not using and not processed.any():
        return asked
    held = next(each for each in ASSORTMENTS[1:] if using.keys() <= {strategy.name for strategy in each})
    return asked._replace(uses=_uses(held, using, sizes))


def ask_nothing(sizes: Sizes, held: tuple[Strategy, ...] = ()) -> Asked:
    """Returns what rows ask that choose greedily, of a program that holds some strategies."""
    temperature, seeds = np.zeros(sizes.rows, np.float32), np.zeros((sizes.rows, 2), np.uint32)
    choices, positions = np.zeros(sizes.rows, np.int32), np.zeros(sizes.rows, np.int32)
    draw = Draw(temperature, seeds, choices, positions)  # type: ignore[arg-type]
    wanted, processed = np.full(sizes.rows, -1, np.int32), np.zeros(sizes.rows, np.bool_)
    return Asked(wanted, draw, processed, _uses(held, {}, sizes), 0)


def _uses(held: tuple[Strategy, ...], using: dict[str, dict[int, Context]], sizes: Sizes) -> dict[str, Use]:
    """Returns what a step asks of the strategies that its program holds, given the rows that use them."""
    uses = {}
    for strategy in held:
        rows = using.get(strategy.name, {})
        marks = np.zeros(sizes.rows, np.bool_)
        marks[list(rows)] = True
        uses[strategy.name] = Use(marks, strategy.parameters(rows, sizes))  # type: ignore[arg-type]
    return uses
