"""A signal stops a run between two steps, in all of its processes behind the same one."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from palmetto.host import signals
from palmetto.parallel.processes import any_of
from palmetto.training.step.state import State


class Stop:
    """The wish of a signal that a run stops."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.signal: str | None = None
        """The name of the signal that has come."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals that ask a process to stop, until the context's end."""
        with signals.handled_by(self._hear):
            yield

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        self._say(f"{self.signal}: stopping before the next step")

    def is_due(self, state: State) -> bool:
        """Returns whether any process of the run has had a signal.

        One that comes while they agree is for the next step: the others know nothing of it.
        """
        stop = any_of(self.signal is not None, state)
        if stop and self.signal is None:
            self.signal = "a signal to another process"
        return stop
