"""What the loop decides; whole runs are in tests/system."""

import pytest

from palmetto.training import loop
from palmetto.training.loop import Loop


@pytest.fixture
def running() -> Loop:
    """A loop that has done nothing yet, and has nothing to do it with."""
    running = object.__new__(Loop)
    running.signal = None
    return running


def test_a_signal_that_comes_while_processes_agree_stops_behind_the_next_step(
    running: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others have been told that there was none, and are on their way into that step."""

    def agree(flag: bool, state: object) -> bool:
        running.signal = "SIGTERM"
        return flag

    monkeypatch.setattr(loop, "any_of", agree)
    assert not running._told_to_stop(None)  # type: ignore[arg-type]
    assert running._told_to_stop(None)  # type: ignore[arg-type]


def test_a_signal_to_another_process_stops_this_one(running: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "any_of", lambda flag, state: True)
    assert running._told_to_stop(None)  # type: ignore[arg-type]
    assert running.signal == "a signal to another process"
