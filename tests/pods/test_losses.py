"""Tests which of two pods is ended, and when a pod is given up."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palmetto.pods.losses import ATTEMPTS, Losses
from palmetto.pods.process import PodProcess, Stage

Start = Callable[..., PodProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Returns a function that starts a process which waits, as pod `number` at a stage."""
    pods: list[PodProcess] = []

    def start(number: int, stage: Stage = "living", seconds: float = 60) -> PodProcess:
        log = tmp_path / f"pod-{number}.log"
        pods.append(PodProcess.start(number, len(pods), log, {}, ["sleep", str(seconds)]))
        pods[-1].stage = stage
        return pods[-1]

    yield start
    for pod in pods:
        pod.end("the test is over")


def test_a_process_that_ends_by_itself_is_lost(start: Start) -> None:
    newcomer, ending = start(0, "ready"), start(1, seconds=0)
    assert Losses(2).choose(newcomer, ending) == (newcomer, ending)


def test_a_pod_that_has_not_joined_is_lost(start: Start) -> None:
    newcomer, living = start(0, "ready"), start(1)
    assert Losses(2).choose(newcomer, living) == (living, newcomer)
    assert Losses(2).choose(living, newcomer) == (living, newcomer)


def test_the_pod_with_more_broken_links_is_lost(start: Start) -> None:
    losses, (common, one, other) = Losses(3), (start(number) for number in range(3))
    assert losses.choose(common, one) == (common, one), "with as many broken links the reporter stays"
    assert losses.choose(common, other) == (other, common)


def test_a_pod_is_given_up_after_its_last_attempt(start: Start) -> None:
    losses, pod = Losses(2), start(1)
    assert [losses.may_restart(pod) for _ in range(ATTEMPTS)] == [True] * (ATTEMPTS - 1) + [False]
    assert losses.may_restart(start(0))


def test_many_steps_clear_earlier_losses(start: Start) -> None:
    losses, pod = Losses(1), start(0)
    for _ in range(ATTEMPTS - 1):
        assert losses.may_restart(pod)
    for _ in range(10):
        losses.note_step(pod)
    assert losses.may_restart(pod)
