"""The signals that ask a process to stop."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals of a scheduler, a person and a terminal that is closed."""


@contextlib.contextmanager
def heard_by(handler: "Callable[[int, FrameType | None], object] | signal.Handlers") -> Iterator[None]:
    """Gives them to `handler` until the context's end. SIGHUP stays ignored where it is: `nohup` asks for that."""
    numbers = [n for n in STOPPING if not (n == signal.SIGHUP and signal.getsignal(n) == signal.SIG_IGN)]
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def ignore_interrupts() -> None:
    """Has Ctrl-C change nothing any more: the work is done or has stopped, and what is left takes a moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
