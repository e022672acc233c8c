"""The drill `pod-loss`: pods are killed, fall silent, and are all killed at once."""

import contextlib
import os
import signal
from collections.abc import Callable
from typing import Any, NamedTuple

from palmetto.drills.command import Command, Found
from palmetto.drills.report import PromiseBroken, Report
from palmetto.drills.workplace import Run, Workplace
from palmetto.json_lines import read_json_lines

_PODS = ("mesh.pod=2", "--pods", "--patience", "5")

_ENDLESS = (
    "training.steps=1000000",
    "training.epochs=100000",
    "training.batch_size=64",
    "training.micro_batch=8",
    "training.checkpoint_every=20",
    "training.evaluate_every=1000",
    "training.digest_every=100",
    "training.spikes.threshold=1000",
)
"""A run long enough for pods to come back, which takes seconds. With this batch half of a step goes into gradients."""

_SETTLED = 12
"""Steps before the drill loses a pod; a pod lost three times within ten steps of joining is given up (docs/pods.md)."""

_TRIES = 5
"""The number of attempts to lose a pod that has not done its share of a step yet."""

Event = dict[str, Any]


class Loss(NamedTuple):
    """The loss of a pod, and its consequences."""

    why: str
    taken_over: bool
    """True if the other pod computed its leaves within the same step."""
    back: bool
    """True if it joined again with the state of the other pod."""


def pod_loss(place: Workplace, report: Report) -> None:
    """Trains a disturbed run over two pods until all faults have happened, then an undisturbed run to the same step."""
    run, undisturbed = place.run("disturbed", *_ENDLESS), place.run("undisturbed", *_ENDLESS)
    report.do("train over two pods, each a process with a model of its own")
    with run.start_train(*_PODS) as command:
        _disturb(run, command, report)
        last_line = command.end().last_line
    report.quote_events(run.new_events())
    report.found(f"exit code {command.code}: {last_line}")
    until = run.line_count() + 20
    report.do(f"the same command, to step {until}")
    run.train(*_PODS, "--until", str(until))
    report.quote_events(run.new_events())
    report.do("the same in one process, undisturbed")
    undisturbed.train("--until", str(until))

    report.compare({each.name: each.digests() for each in (undisturbed, run)})
    judge(report, read_json_lines(run.events), command.code)


def _disturb(run: Run, command: Command, report: Report) -> None:
    """Injects the faults into a training over pods."""

    def wait(what: str, happened: Callable[[], Found]) -> Found:
        """Waits until `happened` returns a true value, and returns it."""
        if not (found := command.wait_for(what, happened)):
            raise PromiseBroken(f"{what}? No: exit code {command.code}, {command.end().last_line}")
        report.quote_events(run.new_events())
        return found

    def process_of(pod: int) -> int:
        """Waits until a pod has joined; returns its process id."""

        def find() -> int | None:
            mine = [event for event in read_json_lines(run.events) if event.get("pod") == pod]
            newest = [event for event in mine if event["event"] in ("pod joined", "pod lost")]
            return newest[-1].get("process") if newest else None

        process = wait(f"pod {pod} has joined", find)
        assert process is not None
        return process

    def lose(pod: int, how: signal.Signals) -> Loss:
        """Sends a signal to a pod after some steps, and waits until the pod has joined again."""
        process, taken = process_of(pod), run.line_count()
        before = len(losses(read_json_lines(run.events), pod))
        wait("steps are taken", lambda: run.line_count() >= taken + _SETTLED)
        os.kill(process, how)
        try:
            wait(f"pod {pod} is lost", lambda: len(losses(read_json_lines(run.events), pod)) > before)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)  # a stopped process would not notice the end of its client
            raise
        process_of(pod)
        return losses(read_json_lines(run.events), pod)[-1]

    def lose_in_a_step(pod: int, how: signal.Signals) -> None:
        for _ in range(_TRIES):
            if lose(pod, how).taken_over:
                return
            report.found(f"pod {pod} had done its share of the step: once more")

    report.do("kill pod 1 (SIGKILL) in the middle of a step")
    lose_in_a_step(1, signal.SIGKILL)
    report.do("stop pod 0 (SIGSTOP): it is there, but out of reach")
    lose_in_a_step(0, signal.SIGSTOP)
    report.do("kill both at once")
    for process in [process_of(pod) for pod in (0, 1)]:
        os.kill(process, signal.SIGKILL)


def losses(events: list[Event], pod: int) -> list[Loss]:
    """Returns each loss of one of two pods."""
    found = []
    for index, lost in enumerate(events):
        if (lost["event"], lost.get("pod")) == ("pod lost", pod):
            taken_over = back = False
            for event in events[index + 1 :]:
                kind, who = event["event"], event.get("pod")
                if kind == "leaves reassigned" and who != pod and event["step"] == lost["step"]:
                    taken_over = True
                if kind in ("pod joined", "pod lost", "all pods lost") and who in (pod, None):
                    back = event.get("donor") == 1 - pod
                    break
            found.append(Loss(lost["why"], taken_over, back))
    return found


def judge(report: Report, events: list[Event], code: int | None) -> None:
    """Checks the promise. events: those of the disturbed run. code: the exit code when all pods were killed."""
    for pod, how, sign in ((1, "killed", "SIGKILL"), (0, "silent", "sign of life")):
        seen = [loss for loss in losses(events, pod) if sign in loss.why]
        report.check(f"pod {pod} was lost, {how}", bool(seen), f"{losses(events, pod)}")
        over = [loss for loss in seen if loss.taken_over]
        report.check(f"pod {1 - pod} took over within the step", bool(over), f"{seen}")
        report.check(f"pod {pod} came back with the state of pod {1 - pod}", any(loss.back for loss in over), f"{over}")
    ends = [index for index, event in enumerate(events) if event["event"] == "all pods lost"]
    resumed = [event["checkpoint"] for event in events[ends[0] :] if event["event"] == "resume"] if ends else []
    report.check(
        "with all pods lost the run stopped, and resumed from a checkpoint",
        code == 1 and any(resumed),
        f"exit code {code}, all lost {len(ends)} times, resumed from: {resumed}",
    )
    report.check_same("disturbed", "undisturbed")
