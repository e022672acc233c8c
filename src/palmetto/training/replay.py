"""Following a ledger: the path that its lines lead to, a state to begin from, and steps taken again and compared.

Training follows its ledger when it goes on, and verifying when it replays a run; both do it by what is here.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from palmetto.training.ledger import Line, differing
from palmetto.training.spikes import Exhausted, History, Rollback
from palmetto.training.step.execution import Execution, observe
from palmetto.training.step.state import State

CHAIN, PLACE = "ledger chain at the checkpoint", "attempt and step"
"""Quantities in which a record can contradict itself."""


class Difference(NamedTuple):
    """The first place where a replay and the record part; `recorded` is None where the record itself is damaged."""

    step: int
    quantity: str
    recorded: Any
    replayed: Any

    @property
    def is_of_bits(self) -> bool:
        """True if a step came out otherwise, as it may in another environment; else the record contradicts itself."""
        return self.recorded is not None and self.quantity not in (CHAIN, PLACE)

    def __str__(self) -> str:
        if self.recorded is None:
            return f"step {self.step}: {self.quantity}: {self.replayed}"
        return f"step {self.step}: {self.quantity} differs: recorded {self.recorded}, replayed {self.replayed}"


class Differs(Exception):
    """A step, or a state, is not what is on record."""

    def __init__(self, step: int, quantity: str, recorded: Any, replayed: Any) -> None:
        self.difference = Difference(step, quantity, recorded, replayed)
        super().__init__(str(self.difference))


class Misplaced(Exception):
    """A line of the ledger, counted from 1, has another attempt or step than may follow."""

    def __init__(self, number: int, line: Line, history: History) -> None:
        self.number, self.line = number, line
        self.expected = (history.attempt, history.step + 1)


class LivePath:
    """The steps that the current parameters went through, and what the detector makes of them."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.lines: list[Line] = []
        """The lines of the live path, that of step n at n − 1."""
        self.exhausted: Exhausted | None = None
        """The last decision, where it was to give up."""

    @property
    def step(self) -> int:
        """Returns the last step of the path."""
        return self.history.step

    def add(self, line: Line) -> Rollback | Exhausted | None:
        """Goes on by a line, which may follow. Returns the decision if it completes a spike; a rollback is done."""
        self.lines[line.step - 1 :] = [line]
        decision = self.history.feed(observe(line))
        if isinstance(decision, Rollback):
            del self.lines[decision.target :]
        self.exhausted = decision if isinstance(decision, Exhausted) else None
        return decision

    def deepen(self, target: int) -> None:
        """Moves the target of the rollback just decided further back; see `History.deepen`."""
        self.history.deepen(target)
        del self.lines[target:]


def follow(history: History, lines: Iterable[Line]) -> LivePath:
    """Returns the path that the lines of a ledger lead to from an empty history; Misplaced where one may not follow."""
    path = LivePath(history)
    for number, line in enumerate(lines, 1):
        if not history.follows(line.attempt, line.step):
            raise Misplaced(number, line, history)
        path.add(line)
    return path


class At(NamedTuple):
    """Where a run or a replay is."""

    state: State
    step: int
    """The state is the one after this step."""


def begin_at(execution: Execution, steps: Iterable[int], read: Callable[[int], State | None]) -> At:
    """Returns the first of the states after `steps` that `read` gives, or else the initialization."""
    for step in steps:
        if (state := read(step)) is not None:
            return At(state, step)
    return At(execution.initial_state(), 0)


def take_again(execution: Execution, state: State, line: Line, history: History) -> State:
    """Takes the step of a line on the state before it, which is donated; Differs where it comes out otherwise."""
    state, again, _ = execution.take(state, line.step, line.attempt, history.skips)
    if quantity := differing(line, again):
        raise Differs(line.step, quantity, getattr(line, quantity), getattr(again, quantity))
    return state
