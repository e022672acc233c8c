"""Stopping a run by a signal, between two steps and after the same step in all processes."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from palmetto.host import signals
from palmetto.parallel.processes import any_of
from palmetto.training.step.state import State


class Stop:
    """Records a signal that asks a run to stop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.signal: str | None = None
        """The name of the signal received, or None."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals that ask a process to stop while the context is active."""
        with signals.handled_by(self._hear):
            yield

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        self._say(f"{self.signal}: stopping before the next step")

    def is_due(self, state: State) -> bool:
        """Returns whether any process of the run has received a signal; all processes get the same answer.

        A signal that arrives during this call may take effect only at the next one.
        """
        stop = any_of(self.signal is not None, state)
        if stop and self.signal is None:
            self.signal = "a signal to another process"
        return stop
