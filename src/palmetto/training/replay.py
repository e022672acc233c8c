"""Replay of a ledger: its live path, a state to begin from, and steps that are repeated and compared.

Both training, when it resumes, and verification use it.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from palmetto.training.ledger import Line, differing
from palmetto.training.spikes import Exhausted, History, Rollback
from palmetto.training.step.execution import Execution, observe
from palmetto.training.step.state import State

CHAIN, PLACE = "ledger chain at the checkpoint", "attempt and step"
"""The names of quantities in which a record can contradict itself."""


class Difference(NamedTuple):
    """Holds the first difference between a replay and the record; `recorded` is None if the record is damaged."""

    step: int
    quantity: str
    recorded: Any
    replayed: Any

    @property
    def is_of_bits(self) -> bool:
        """Returns whether a step had another result, as in another environment, and the record is consistent."""
        return self.recorded is not None and self.quantity not in (CHAIN, PLACE)

    def __str__(self) -> str:
        if self.recorded is None:
            return f"step {self.step}: {self.quantity}: {self.replayed}"
        return f"step {self.step}: {self.quantity} differs: recorded {self.recorded}, replayed {self.replayed}"


class Differs(Exception):
    """Signals that a step or a state differs from the record."""

    def __init__(self, step: int, quantity: str, recorded: Any, replayed: Any) -> None:
        self.difference = Difference(step, quantity, recorded, replayed)
        super().__init__(str(self.difference))


class Misplaced(Exception):
    """Signals that a line of the ledger, counted from 1, has an attempt or step that may not come next."""

    def __init__(self, number: int, line: Line, history: History) -> None:
        self.number, self.line = number, line
        self.expected = (history.attempt, history.step + 1)


class LivePath:
    """Holds the steps that led to the current parameters, and the history of the spike detector."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.lines: list[Line] = []
        """The lines of the live path; step n is at index n − 1."""
        self.exhausted: Exhausted | None = None
        """The decision of the last line, if it was to give up."""

    @property
    def step(self) -> int:
        """Returns the last step of the path."""
        return self.history.step

    def add(self, line: Line) -> Rollback | Exhausted | None:
        """Appends a line that may come next, carries out a rollback, and returns the decision if there is one."""
        self.lines[line.step - 1 :] = [line]
        decision = self.history.feed(observe(line))
        if isinstance(decision, Rollback):
            del self.lines[decision.target :]
        self.exhausted = decision if isinstance(decision, Exhausted) else None
        return decision

    def deepen(self, target: int) -> None:
        """Moves the target of the last rollback further back; see `History.deepen`."""
        self.history.deepen(target)
        del self.lines[target:]


def follow(history: History, lines: Iterable[Line]) -> LivePath:
    """Returns the live path of a ledger's lines, given an empty history; raises Misplaced if a line is out of place."""
    path = LivePath(history)
    for number, line in enumerate(lines, 1):
        if not history.follows(line.attempt, line.step):
            raise Misplaced(number, line, history)
        path.add(line)
    return path


class At(NamedTuple):
    """Holds a state and its step, the position of a run or a replay."""

    state: State
    step: int
    """The step that led to the state; 0 for the initial one."""


def begin_at(execution: Execution, steps: Iterable[int], read: Callable[[int], State | None]) -> At:
    """Returns the first state that `read` gives for one of `steps`, or else the initial state."""
    for step in steps:
        if (state := read(step)) is not None:
            return At(state, step)
    return At(execution.initial_state(), 0)


def take_again(execution: Execution, state: State, line: Line, history: History) -> State:
    """Repeats the step of a line on the state before it, which is donated, and returns the new state.

    Raises Differs if the result is not the recorded line.
    """
    state, again, _ = execution.take(state, line.step, line.attempt, history.skips)
    if quantity := differing(line, again):
        raise Differs(line.step, quantity, getattr(line, quantity), getattr(again, quantity))
    return state
