"""Pods that are killed, that fall silent, and that are all killed at once."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

from palmetto.drills.report import PromiseBroken, Report
from palmetto.drills.workplace import Run, Workplace
from palmetto.files import read_json_lines

_PODS = ("mesh.pod=2", "--pods", "--patience", "5")

_ENDLESS = (
    "training.steps=1000000",
    "training.epochs=100000",
    "training.checkpoint_every=20",
    "training.evaluate_every=1000",
    "training.digest_every=100",
    "training.spikes.threshold=1000",
)
"""Steps take milliseconds, and a pod needs seconds to come back."""

_DEADLINE = 300.0
"""Seconds for whatever is waited for."""

Event = dict[str, Any]


def pod_loss(place: Workplace, report: Report) -> None:
    """The disturbed run goes on over two pods until all has happened; then the undisturbed one takes as many steps."""
    run, undisturbed = place.run("disturbed", *_ENDLESS), place.run("undisturbed", *_ENDLESS)
    report.do("train over two pods, each a process with a model of its own")
    process = run.start_train(*_PODS)
    try:
        until = _disturb(run, process, report)
    finally:
        process.kill()
        process.communicate()  # waits, and closes the pipes
    report.do(f"the same command, to step {until}")
    run.train(*_PODS, "--until", str(until))
    report.logged(run.new_events())
    report.do("the same in one process, undisturbed")
    undisturbed.train("--until", str(until))

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge(report, read_json_lines(run.events), process.returncode)


def _disturb(run: Run, process: "subprocess.Popen[bytes]", report: Report) -> int:
    """What is done to a training over pods; returns a step somewhat behind the one that it has come to."""

    def wait(what: str, happened: Callable[[list[Event]], Any]) -> Any:
        """What `happened` finds among the events, once it finds it."""
        deadline = time.monotonic() + _DEADLINE
        while not (found := happened(read_json_lines(run.events))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PromiseBroken(f"{what}? No: exit code {process.poll()}")
            time.sleep(0.01)
        report.logged(run.new_events())
        return found

    def process_of(pod: int, life: int) -> int:
        """The process id of a pod, the first, second … of it; waits until it has joined."""
        joined = wait(f"pod {pod} has joined", lambda events: _of("pod joined", events, pod)[life:])
        return int(joined[0]["process"])

    def send(pod: int, life: int, how: signal.Signals) -> None:
        taken = len(run.lines())
        number = process_of(pod, life)
        wait("steps are taken", lambda events: len(run.lines()) >= taken + 3)
        os.kill(number, how)

    report.do("kill pod 1 (SIGKILL) in the middle of a step")
    send(1, 0, signal.SIGKILL)
    wait("pod 1 is lost", lambda events: _of("pod lost", events, 1))
    process_of(1, 1)
    report.do("stop pod 0 (SIGSTOP): it is there, but out of reach")
    send(0, 0, signal.SIGSTOP)
    wait("pod 0 is lost", lambda events: _of("pod lost", events, 0))
    process_of(0, 1)
    report.do("kill both at once")
    for pod in (0, 1):
        os.kill(process_of(pod, 1), signal.SIGKILL)
    _, err = process.communicate(timeout=_DEADLINE)
    report.logged(run.new_events())
    report.found(f"exit code {process.returncode}: {err.decode(errors='replace').strip().splitlines()[-1]}")
    return len(run.lines()) + 20


def _of(kind: str, events: list[Event], pod: int) -> list[Event]:
    return [event for event in events if event["event"] == kind and event["pod"] == pod]


def judge(report: Report, events: list[Event], code: int) -> None:
    """events: the disturbed run's; code: the exit code of the command whose pods all were killed."""
    lost = [event for event in events if event["event"] == "pod lost"]
    report.check("pod 1 was lost, killed", any(e["pod"] == 1 and "SIGKILL" in e["why"] for e in lost), f"{lost}")
    report.check("pod 0 was lost, silent", any(e["pod"] == 0 and "sign of life" in e["why"] for e in lost), f"{lost}")
    back = [(event["pod"], event["donor"]) for event in events if event["event"] == "pod joined" and "donor" in event]
    report.check("each came back, with the state of the other", {(0, 1), (1, 0)} <= set(back), f"came back: {back}")
    resumed = [event["checkpoint"] for event in events if event["event"] == "resume"]
    report.check("with all pods lost the run stopped, and went on from a checkpoint", code == 1 and any(resumed),
                 f"exit code {code}, went on from: {resumed}")  # fmt: skip
    report.check_same("disturbed", "undisturbed")
