"""Pods as real processes on this machine. Whatever fails, the bits are those of one process."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.errors import RunStopped
from palmetto.model import tuning
from palmetto.pods import fleet, parcels
from palmetto.pods.client import Pods
from palmetto.pods.parcels import fingerprint
from palmetto.pods.programs import on_host
from palmetto.recipe import Recipe
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import initial_state
from palmetto.training.step.update import make_step
from tests.conftest import RecipeMaker
from tests.references import pod_faults as faults

pytestmark = pytest.mark.slow
FAULTS = str(Path(faults.__file__))
LEAVES = 4
RATE = np.float32(1e-2)
Faults = dict[int, tuple[int, str]]


class Whole:
    """The same training by one process, for comparison."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self._state = recipe, initial_state(recipe)
        self._step = make_step(recipe, tuning.for_platform("cpu"))
        self.beginning = [array.copy() for array in on_host(self._state)]
        self._fingerprints = [fingerprint(self.beginning)]

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step."""
        shape = (LEAVES, 2, self.recipe.tokens.sequence_length + 1)
        return Batch(np.random.default_rng(step).integers(0, 300, shape, dtype=np.int32))  # type: ignore[arg-type]

    def after(self, step: int) -> str:
        """Returns the fingerprint of the state after a step."""
        while len(self._fingerprints) <= step:
            batch = self.batch(len(self._fingerprints))
            self._state, _ = self._step(self._state, Batch(jnp.asarray(batch.tokens)), jnp.asarray(RATE))
            self._fingerprints.append(fingerprint(on_host(self._state)))
        return self._fingerprints[step]


class Run:
    """A training by pods with faults."""

    def __init__(self, whole: Whole, pods: int, folder: Path, faults: Faults, patience: float = 20.0) -> None:
        self.events: list[dict[str, Any]] = []
        self.whole, self.step = whole, 0
        self.pods = Pods(
            whole.recipe,
            pods,
            folder,
            lambda event, text, **fields: self.events.append({"event": event, "text": text, **fields}),
            patience=patience,
            command=[sys.executable, "-P", FAULTS, json.dumps(faults)],
        )

    def start(self) -> None:
        self.pods.put_state(self.whole.beginning, 0, self.whole.batch(1))

    def take(self) -> None:
        self.step += 1
        self.pods.step(self.step, self.whole.batch(self.step), None, RATE)

    def take_until(self, event: str, **fields: Any) -> dict[str, Any]:
        """Takes steps until an event happens; returns the event."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for happened in self.events:
                if happened["event"] == event and happened.items() >= fields.items():
                    return happened
            self.take()
            time.sleep(0.02)
        pytest.fail(f"{event} {fields} did not happen: {self.events}")

    def assert_same_bits(self) -> None:
        assert fingerprint(self.pods.state()) == self.whole.after(self.step)

    def told(self, event: str) -> list[str]:
        return [happened["text"] for happened in self.events if happened["event"] == event]


Start = Callable[..., Run]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder in which the pods of all tests keep their compiled programs."""
    return tmp_path_factory.mktemp("pods")


@pytest.fixture(scope="module")
def whole(tiny_recipe: RecipeMaker) -> Whole:
    return Whole(tiny_recipe())


@pytest.fixture
def start(whole: Whole, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(parcels, "CHUNK", faults.CHUNK)
    runs = []

    def start(pods: int, faults: Faults, **options: Any) -> Run:
        run = Run(whole, pods, folder, faults, **options)
        runs.append(run)
        run.start()
        return run

    yield start
    for run in runs:
        run.pods.close()


def test_a_pod_killed_while_sending_is_replaced(start: Start) -> None:
    run = start(2, {1: (3, "torn"), 2: (2, "garbled")})
    lost = run.take_until("pod lost", pod=1)
    assert (lost["step"], lost["why"]) == (3, "ended by SIGKILL")
    assert run.step == 3, "the step was finished by the other"
    assert run.told("leaves reassigned") == ["leaves 2, 3 of step 3 go to pod 0"]
    run.assert_same_bits()
    joined = run.take_until("pod joined", pod=1, donor=0)
    assert re.fullmatch(r"pod 1 joined after step \d+ with the state of pod 0", joined["text"])
    lost = run.take_until("pod lost", step=joined["step"] + 2)
    # One of two pods that cannot reach each other is lost. On a busy machine the report of the other end may come
    # first, and what that end has seen depends on what it was doing.
    if lost["pod"] == 1:
        assert lost["why"] == "out of reach of pod 0: sent a message whose checksum is wrong"
    else:
        assert lost["why"].startswith("out of reach of pod 1: ")
    run.assert_same_bits()


def test_a_silent_or_unreachable_pod_is_replaced(start: Start) -> None:
    run = start(2, {0: (2, "stopped"), 2: (2, "cut")}, patience=3)
    lost = run.take_until("pod lost", pod=0)
    assert (lost["step"], lost["why"]) == (2, "no sign of life for 3 s")
    joined = run.take_until("pod joined", pod=0, donor=1)
    lost = run.take_until("pod lost", step=joined["step"] + 2)
    assert "out of reach of pod" in lost["why"]
    assert len(run.told("pod lost")) == 2, "one of two pods that cannot reach each other is lost"
    run.take()
    run.assert_same_bits()


def test_several_pods_and_a_donor_may_be_lost(start: Start) -> None:
    run = start(4, {0: (0, "donor"), 1: (2, "killed"), 2: (2, "killed")})
    run.take()
    run.take()
    assert len(run.told("pod lost")) == 2
    joined = run.take_until("pod joined", donor=3)
    lost = run.take_until("pod lost", pod=0)
    assert lost["step"] == joined["step"], "between two steps"
    run.assert_same_bits()


def test_the_common_end_of_broken_links_is_lost(start: Start) -> None:
    run = start(4, {0: (2, "cut")})
    run.take()
    run.take()
    lost = [event["pod"] for event in run.events if event["event"] == "pod lost"]
    assert 0 in lost
    assert len(lost) <= 2, "and at most the first other pod that was named"
    run.assert_same_bits()


def test_a_pod_lost_three_times_is_given_up(start: Start) -> None:
    """The second process reaches no other pod, and is ended rather than the pod that it cannot reach."""
    run = start(2, {1: (2, "killed"), 2: (0, "deaf"), 3: (2, "killed")})
    failed = run.take_until("pod failed")
    assert (failed["pod"], failed["why"]) == (1, "out of reach of pod 0: does not answer")
    given_up = run.take_until("pod given up")
    assert given_up["pod"] == 1
    assert {event["pod"] for event in run.events if event["event"] == "pod lost"} == {1}
    run.take()
    run.assert_same_bits()


def test_a_pod_whose_state_changes_in_memory_is_named(start: Start) -> None:
    run = start(2, {1: (2, "flipped")})
    run.take()
    run.take()
    run.assert_same_bits()
    with pytest.raises(RunStopped, match="step 3: pod 1: the state was changed in memory"):
        run.take_until("never")
    assert run.events[-1].items() >= {"event": "digest mismatch", "step": 3, "pods": [1]}.items()


def test_different_results_of_an_update_stop_the_run(start: Start) -> None:
    run = start(2, {1: (2, "wrong")})
    with pytest.raises(RunStopped, match="step 2: pods 0 and 1: hold different states after the same update"):
        run.take_until("never")
    assert run.step <= 3


def test_without_pods_the_run_stops(start: Start) -> None:
    run = start(2, {0: (2, "killed"), 1: (2, "killed")})
    run.take()
    with pytest.raises(RunStopped, match="all pods are lost at step 2; the same command resumes"):
        run.take()
    assert [event["event"] for event in run.events[-3:]] == ["leaves reassigned", "pod lost", "all pods lost"]


def test_pods_that_cannot_start_are_given_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.pods.test_client.FAULTS", "nowhere.py")
    with pytest.raises(RunStopped, match="no pod could be started"):
        start(2, {})


def test_pods_that_never_connect_are_given_up(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "START_UP", 0.3)
    told: list[str] = []
    pods = Pods(whole.recipe, 2, tmp_path, lambda event, text, **fields: told.append(text), command=["sleep", "1000"])
    with pytest.raises(RunStopped, match="no pod could be started"):
        pods.put_state(whole.beginning, 0, whole.batch(1))
    pods.close()
    assert told.count("pod 1 ended before it joined: no sign of life for 0.3 s") == 3
