"""A signal stops all processes of a run behind the same step."""

import pytest

from palmetto.training import stopping
from palmetto.training.stopping import Stop


def test_one_that_comes_while_processes_agree_is_for_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have been told that there was none, and are on their way into that step."""
    stop = Stop(print)

    def agree(flag: bool, state: object) -> bool:
        stop.signal = "SIGTERM"
        return flag

    monkeypatch.setattr(stopping, "any_of", agree)
    assert not stop.is_due(None)  # type: ignore[arg-type]
    assert stop.is_due(None)  # type: ignore[arg-type]


def test_one_to_another_process_stops_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop(print)
    monkeypatch.setattr(stopping, "any_of", lambda flag, state: True)
    assert stop.is_due(None)  # type: ignore[arg-type]
    assert stop.signal == "a signal to another process"


def test_one_before_the_first_step_does_not_promise_one() -> None:
    said: list[str] = []
    Stop(said.append)._hear(2, None)
    assert said == ["SIGINT: stopping before the next step"]
