"""The signals that ask a process to stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Sent by a scheduler, by Ctrl-C, and when a terminal is closed."""


@contextlib.contextmanager
def handled_by(handler: "Callable[[int, FrameType | None], object] | signal.Handlers") -> Iterator[None]:
    """Handles the stopping signals by `handler` inside the context. SIGHUP stays ignored if `nohup` has ignored it."""
    numbers = [n for n in STOPPING if not (n == signal.SIGHUP and signal.getsignal(n) == signal.SIG_IGN)]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def ignore_interrupts() -> None:
    """Ignores Ctrl-C from now on, for the short time between the end of the work and the end of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
