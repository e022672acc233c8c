"""The signals that ask a process to stop."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals of a scheduler, a person and a terminal that is closed."""

_unfinished: set[str] = set()
"""The files that are removed when a signal ends this process."""


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


@contextlib.contextmanager
def removing(file: str) -> Iterator[None]:
    """Has SIGTERM and SIGHUP remove `file` before they end this process, until the context's end.

    Nothing changes where they are ignored or heard by another handler, nor in a thread, where Python sets no handlers.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if in_main and signal.getsignal(n) == signal.SIG_DFL]
    _unfinished.add(file)
    for number in ours:
        signal.signal(number, _remove_and_end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        _unfinished.discard(file)


def _remove_and_end(number: int, frame: FrameType | None) -> None:
    for file in tuple(_unfinished):
        with contextlib.suppress(OSError):
            os.unlink(file)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
