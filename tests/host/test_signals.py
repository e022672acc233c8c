"""Handlers of the signals that ask a process to stop."""

import os
import signal
from collections.abc import Iterator

import pytest

from palmetto.host import signals


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", signals.STOPPING, ids=lambda number: number.name)
def test_each_signal_is_handled_until_the_end(number: signal.Signals) -> None:
    heard: list[int] = []
    signal.signal(number, signal.SIG_DFL)
    with signals.handled_by(lambda number, frame: heard.append(number)):
        os.kill(os.getpid(), number)
    assert heard == [number]
    assert signal.getsignal(number) == signal.SIG_DFL


def test_an_ignored_hangup_stays_ignored() -> None:
    """`nohup` ignores it, so that the terminal may close."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    heard: list[int] = []
    with signals.handled_by(lambda number, frame: heard.append(number)):
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert not heard


def test_handlers_are_restored_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), signals.handled_by(signal.SIG_IGN):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before
