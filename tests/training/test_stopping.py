"""A signal stops all processes of a run after the same step."""

import pytest

from palmetto.training import stopping
from palmetto.training.stopping import Stop


def test_a_signal_during_the_agreement_waits_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other processes have learned of no signal, and begin that step."""
    stop = Stop(print)

    def agree(flag: bool, state: object) -> bool:
        stop.signal = "SIGTERM"
        return flag

    monkeypatch.setattr(stopping, "any_of", agree)
    assert not stop.is_due(None)  # type: ignore[arg-type]
    assert stop.is_due(None)  # type: ignore[arg-type]


def test_a_signal_to_another_process_stops_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop(print)
    monkeypatch.setattr(stopping, "any_of", lambda flag, state: True)
    assert stop.is_due(None)  # type: ignore[arg-type]
    assert stop.signal == "a signal to another process"


def test_the_message_promises_no_further_step() -> None:
    said: list[str] = []
    Stop(said.append)._hear(2, None)
    assert said == ["SIGINT: stopping before the next step"]
