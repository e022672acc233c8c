"""The client of a run's pods. It gives each pod its share of every batch, and replaces pods that are lost.

The client starts the pods as processes. When a pod is lost, the others compute its leaves within the same step. A new
process is started, which joins between two steps with the state of a living pod. The client holds no copy of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from palmetto.errors import RunStopped
from palmetto.pods.assignment import assign, leaves_of, reassign
from palmetto.pods.digests import CHANGED, Difference, Digests, Report
from palmetto.pods.fleet import Fleet, named
from palmetto.pods.limits import PATIENCE
from palmetto.pods.losses import ATTEMPTS, Losses
from palmetto.pods.parcels import Delivery, fingerprint
from palmetto.pods.process import COMMAND, PodProcess
from palmetto.pods.wire import Array, Message
from palmetto.recipe import Recipe
from palmetto.training.step.loss import Batch


class Tell(Protocol):
    """A callback that receives events, for the event log and for the person watching."""

    def __call__(self, event: str, text: str, **fields: Any) -> None: ...


class Taken(NamedTuple):
    """The results of a step."""

    metrics: Mapping[str, Array]
    reports: Mapping[int, Mapping[str, Any]]
    """The report of each pod: "seconds" of gradients, exchange and update in this step and of the processor so far, and
    the bytes "sent" to and "received" from the other pods so far."""


@dataclass
class StepOrder:
    """The step that the pods are taking."""

    number: int
    serial: int
    """The number of steps taken so far, with this one; unlike `number` it also counts steps before a rollback."""
    batch: Batch
    target_count: Array | None
    """The number of predicted tokens in each leaf, shape [leaves], or None if every token is target_count."""
    rate: np.float32
    """The learning rate."""
    owners: dict[int, int]
    """Maps each part to its pod."""
    done: dict[int, Message] = field(default_factory=dict)
    """Maps each pod that has finished the step to its report."""


class Pods:
    """A group of pods, each with its own mesh, that take the steps of a run together."""

    def __init__(
        self,
        recipe: Recipe,
        count: int,
        folder: Path,
        tell: Tell,
        *,
        environment: Mapping[str, Any] | None = None,
        patience: float = PATIENCE,
        cores: Sequence[Sequence[int]] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        """recipe: the recipe of one pod. folder: the folder for logs and compiled programs.

        environment: the run's record of its environment. patience: seconds without a sign of life after which a pod is
        lost. cores: the cores that each pod is pinned to, by default none. command: the command that starts a pod.
        """
        self.count = count
        self._fleet = Fleet(recipe, count, folder, environment, patience, cores, command)
        self._folder, self._tell = folder, tell
        self._losses = Losses(count)
        self._serial = self._offset = 0
        """The serial number of the last step, and its difference from the step's number in the run."""
        self._step: StepOrder | None = None
        self._part: Batch | None = None
        self._digests = Digests()

    # Methods for the run

    def put_state(self, arrays: Sequence[Array], number: int, batch: Batch) -> None:
        """Gives all pods the state after step `number`. The first call starts the pods.

        batch: a batch of the next step's size. Raises RunStopped if no pod is left, or if a pod holds another state
        than it was given.
        """
        if self._part:
            self._wait_for_agreement()
        self._part = self._leaves(batch, 0)
        if not self._fleet.lives:
            for each in range(self.count):
                self._fleet.start(each, self._part)
            while self._fleet.at("starting"):
                self._handle_next()
        for newcomer in self._fleet.at("ready"):
            self._link(newcomer)
        self._offset = self._serial - number
        self._digests.start(self._serial, fingerprint(arrays))
        holders = self._fleet.at("ready", "living")
        for pod in holders:
            self._fleet.give_state(pod, arrays)
        for pod in holders:
            self._wait_until_held(pod)
        if not self._living:
            raise RunStopped(f"no pod could be started (see {self._folder}/pod-*.log)")

    def step(self, number: int, batch: Batch, target_count: Array | None, rate: np.float32) -> Taken:
        """Takes a step.

        batch: NumPy arrays of shape [leaves, micro_batch, …]. target_count: the tokens that each leaf predicts.
        Raises RunStopped if no pod is left, or if the pods held different states before the step.
        """
        self._admit()
        self._serial += 1
        self._part = self._leaves(batch, 0)
        owners = assign(self.count, [pod.number for pod in self._living])
        self._step = step = StepOrder(number, self._serial, batch, target_count, rate, owners)
        for pod in self._living:
            self._order(step, pod, "step", [part for part, owner in owners.items() if owner == pod.number])
        while any(pod.number not in step.done for pod in self._living):
            self._handle_next()
        self._step = None
        for pod in self._living:
            self._losses.note_step(pod)
        reports = {pod: report.fields for pod, report in sorted(step.done.items())}
        return Taken(step.done[min(step.done)].arrays, reports)

    def state(self) -> Sequence[Array]:
        """Returns the state that the pods hold. Raises RunStopped if they do not agree on its digest."""
        self._wait_for_agreement()
        while True:
            pod = self._living[0]
            arrays = self._fleet.ask_for_state(pod)
            if self._wait_for_answer(pod):
                pod.state = Delivery([])
                self._check_digest(pod, fingerprint(arrays))
                return arrays

    def close(self) -> None:
        """Ends all processes."""
        self._fleet.close()

    @property
    def _living(self) -> list[PodProcess]:
        return self._fleet.at("living")

    def _order(self, step: StepOrder, pod: PodProcess, kind: str, parts: Sequence[int]) -> None:
        """Orders a pod to compute parts of the step."""
        shares = {part: named(self._leaves(step.batch, part)) for part in parts}
        arrays = {f"{part}/{name}": array for part, share in shares.items() for name, array in share.items()}
        if step.target_count is not None:
            arrays["target_count"] = step.target_count
        self._fleet.tell(pod, kind, arrays, serial=step.serial, rate=float(step.rate), parts=parts)

    def _leaves(self, batch: Batch, part: int) -> Batch:
        leaves = leaves_of(part, self.count, len(batch.tokens))
        share: Batch = jax.tree.map(lambda array: array[leaves.start : leaves.stop], batch)
        return share

    # Pods that join

    def _admit(self) -> None:
        """Lets pods that are ready join, with the state of a living pod."""
        while newcomers := self._fleet.at("ready"):
            newcomer = newcomers[0]
            self._wait_for_agreement()
            self._link(newcomer)
            while newcomer.stage == "ready":
                donor = self._living[0]
                self._fleet.ask(newcomer, "give", by=donor, to=newcomer.life)
                self._wait_until_held(newcomer, donor)

    def _link(self, newcomer: PodProcess) -> None:
        """Lets a pod connect to all pods that are linked already. A pod that is linked later connects to this one.

        The order of linking may differ from the order of starting, since pods compile for different times.
        """
        linked = [pod for pod in self._fleet.at("ready", "living") if pod.linked]
        self._fleet.ask(newcomer, "link", peers=[{"life": pod.life, "port": pod.port} for pod in linked])
        newcomer.linked = self._wait_for_answer(newcomer) is not None

    def _wait_until_held(self, pod: PodProcess, donor: PodProcess | None = None) -> None:
        """Waits until a pod reports that it holds the state it was given. A ready pod has then joined."""
        if not (answer := self._wait_for_answer(pod, donor)):
            return
        self._check_digest(pod, answer.fields["digest"])
        if pod.stage == "ready":
            pod.stage = "living"
            source = f" with the state of pod {donor.number}" if donor else ""
            fields = {"pod": pod.number, "step": self._number, "process": pod.pid}
            fields |= {"donor": donor.number} if donor else {}
            self._tell("pod joined", f"pod {pod.number} joined after step {self._number}{source}", **fields)

    # Pods that are lost

    def _lose(self, pod: PodProcess, why: str) -> None:
        """Ends a process, gives its leaves to the other pods, and starts another process in its place."""
        joined = pod.stage == "living"
        del self._fleet.lives[pod.life]
        why = pod.end(why)
        if joined:
            at = f"in step {self._step.number}" if self._step else f"after step {self._number}"
            self._tell("pod lost", f"pod {pod.number} lost {at}: {why}", pod=pod.number, step=self._number, why=why)
        else:
            self._tell("pod failed", f"pod {pod.number} ended before it joined: {why}", pod=pod.number, why=why)
        for other in self._fleet.at("ready", "living"):
            self._fleet.tell(other, "gone", life=pod.life)
        if joined and not self._living:
            raise RunStopped(self._all_lost())
        if self._losses.may_restart(pod):
            assert self._part is not None
            self._fleet.start(pod.number, self._part)
        else:
            self._tell("pod given up", f"pod {pod.number} given up after {ATTEMPTS} attempts", pod=pod.number)
        if joined and self._step:
            self._reassign(self._step, pod.number)

    def _reassign(self, step: StepOrder, lost: int) -> None:
        """Gives a lost pod's leaves to living pods, unless all of these have finished the step."""
        step.done.pop(lost, None)
        if all(pod.number in step.done for pod in self._living):
            return
        orphans = [part for part, owner in step.owners.items() if owner == lost]
        new = reassign(orphans, step.owners, [pod.number for pod in self._living])
        step.owners |= new
        for pod in self._living:
            if mine := [part for part, owner in new.items() if owner == pod.number]:
                self._order(step, pod, "take over", mine)
                leaves = [leaf for part in mine for leaf in leaves_of(part, self.count, len(step.batch.tokens))]
                text = f"leaves {', '.join(map(str, leaves))} of step {step.number} go to pod {pod.number}"
                self._tell("leaves reassigned", text, step=step.number, pod=pod.number, leaves=leaves)

    def _all_lost(self) -> str:
        text = f"all pods are lost at step {self._number}; the same command resumes from the last checkpoint"
        self._tell("all pods lost", text, step=self._number)
        return f"{text} (see {self._folder}/pod-*.log)"

    # Messages from pods

    @property
    def _number(self) -> int:
        """The number of the step that the pods are taking, or have taken last."""
        return self._serial - self._offset

    def _handle_next(self) -> None:
        """Waits a short time for a message, handles it, and compares the digests that the pods have reported."""
        if received := self._fleet.next():
            self._handle(*received)
        if difference := self._digests.compare([pod.number for pod in self._living]):
            self._stop(difference)

    def _handle(self, pod: PodProcess, message: Message) -> None:
        fields = message.fields
        match message.kind:
            case "ready":
                pod.stage = "ready"
            case "linked" | "holds" | "state":
                if fields["request"] == pod.request:
                    pod.answer = message
            case "done":
                if self._step and self._step.serial == fields["serial"]:
                    self._step.done[pod.number] = message
            case "digest":
                self._digests.note(fields["serial"], pod.number, Report(fields["before"], fields["after"]))
            case "unreachable":
                if other := self._fleet.lives.get(fields["life"]):
                    kept, ended = self._losses.choose(pod, other)
                    self._lose(ended, f"out of reach of pod {kept.number}: {fields['why']}")
            case "lost":
                self._lose(pod, fields["why"])

    def _wait_for_answer(self, pod: PodProcess, source: PodProcess | None = None) -> Message | None:
        """Returns a pod's answer, or None if the pod is lost, or `source`, the pod that it receives a state from."""
        while pod.answer is None and pod.stage != "lost" and not (source and source.stage == "lost"):
            self._handle_next()
        return pod.answer

    def _wait_for_agreement(self) -> None:
        """Waits until all pods have reported the digest of the last step."""
        while self._digests.serial < self._serial:
            self._handle_next()

    def _check_digest(self, pod: PodProcess, digest: str) -> None:
        """Raises RunStopped if a pod's state is not the one that all pods have agreed on."""
        if digest != self._digests.agreed:
            self._stop(Difference(self._serial, [pod.number], CHANGED))

    def _stop(self, difference: Difference) -> None:
        step = difference.serial - self._offset
        names = " and ".join(map(str, difference.pods))
        text = f"step {step}: pod{'s' * (len(difference.pods) > 1)} {names}: {difference.what}"
        self._tell("digest mismatch", text, step=step, pods=difference.pods)
        raise RunStopped(f"{text}; the same command resumes from the last checkpoint")
