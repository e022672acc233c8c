"""Runs over pods as a user starts them. When pods are lost or the run rolls back, the bits are those of one process."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.references.whole_runs import SPIKY, Runs

Bits = tuple[str, str, bytes]
PODS = ("mesh.pod=2", "--pods")
pytestmark = pytest.mark.slow


def events(runs: Runs, run: str, kind: str) -> list[dict[str, Any]]:
    lines = (runs.folder / run / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def steps(runs: Runs, run: str) -> int:
    ledger = runs.folder / run / "ledger.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def wait(process: "subprocess.Popen[bytes]", until: Callable[[], bool]) -> None:
    while process.poll() is None and not until():
        time.sleep(0.002)


def kill(runs: Runs, run: str, *pods: int) -> None:
    """Sends SIGKILL to the newest process of each pod."""
    newest = {event["pod"]: event["process"] for event in events(runs, run, "pod joined")}
    for pod in pods:
        with contextlib.suppress(ProcessLookupError):
            os.kill(newest[pod], signal.SIGKILL)


def test_the_loss_of_one_and_all_pods_changes_no_bit(prepared: Runs, straight: Bits) -> None:
    process = prepared.start_train("pods", *PODS)
    wait(process, lambda: steps(prepared, "pods") >= 3)
    kill(prepared, "pods", 1)
    wait(process, lambda: steps(prepared, "pods") >= 25)
    kill(prepared, "pods", 0, 1)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err.decode()
    last = err.decode().strip().splitlines()[-1]
    assert last.startswith("palmetto: all pods are lost at step ")
    assert "the same command resumes from the last checkpoint" in last
    lost = events(prepared, "pods", "pod lost")
    assert {event["why"] for event in lost} == {"ended by SIGKILL"}
    assert lost[0]["pod"] == 1
    assert lost[0]["step"] < 25

    prepared.train("pods", *PODS)
    assert events(prepared, "pods", "resume")
    assert prepared.bits("pods") == straight
    assert json.loads(prepared("verify", "pods", "--json")[0])["verified"]


def test_stopped_pods_resume_and_roll_back_with_the_same_bits(prepared: Runs, spiky: Bits) -> None:
    process = prepared.start_train("spiky-pods", *SPIKY, *PODS, "--stopped-exit", 75)
    wait(process, lambda: steps(prepared, "spiky-pods") >= 5)
    for each in (*(event["process"] for event in events(prepared, "spiky-pods", "pod joined")), process.pid):
        for number in (signal.SIGTERM, signal.SIGHUP):
            os.kill(each, number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err.decode()
    assert not events(prepared, "spiky-pods", "pod lost")
    assert ": stopped at step" in str(events(prepared, "spiky-pods", "stopped"))
    prepared.train("spiky-pods", *SPIKY, *PODS)
    assert events(prepared, "spiky-pods", "rollback")
    assert prepared.bits("spiky-pods") == spiky


def test_pods_end_with_their_client(prepared: Runs) -> None:
    assert prepared.kill_at("orphans", 2, *PODS) == -signal.SIGKILL
    pods = [event["process"] for event in events(prepared, "orphans", "pod joined")]
    assert len(pods) == 2
    deadline = time.monotonic() + 30
    while any(map(is_alive, pods)):
        assert time.monotonic() < deadline, "a pod outlives its client"
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Returns whether a process that is not our child has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--pods",), "--pods: mesh.pod=1 is a single one"),
        ((*PODS, "training.reproducible=fixed"), "elastic would do"),
        ((*PODS, "--processes", 2), "drop --processes"),
        (("--patience", 5), "--patience 5: is for pods"),
    ],
)
def test_options_that_exclude_pods_are_refused(prepared: Runs, arguments: tuple[object, ...], said: str) -> None:
    _, err = prepared.train("refused-pods", *arguments, expect=2)
    assert said in err
    assert len(err.splitlines()) == 1
