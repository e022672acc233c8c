"""The client of a run's pods: hands each its share of every batch, and sees to it that the loss of some costs nothing.

It starts the pods as processes, gives a lost one's leaves to the others within the same step, starts it anew, and has
it join between two steps with the state of one that lives. It holds no copy of the model itself.
"""

from collections import defaultdict
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
from palmetto.pods.parcels import Delivery, fingerprint
from palmetto.pods.process import COMMAND, PodProcess
from palmetto.pods.wire import Array, Message
from palmetto.recipe import Recipe
from palmetto.training.step.loss import Batch

_ATTEMPTS = 3
"""Processes in a row that may end before they have settled; then a pod is given up."""

_SETTLED = 10
"""Steps that a process takes part in until what became of those before it does not count any more."""


class Tell(Protocol):
    """Where what happens is told: the event log and the person watching."""

    def __call__(self, event: str, text: str, **fields: Any) -> None: ...


class Taken(NamedTuple):
    """What the pods report of a step."""

    metrics: Mapping[str, Array]
    reports: Mapping[int, Mapping[str, Any]]
    """By pod: "seconds" {gradients, exchange, update; of the processor so far}; bytes "sent" to and "received" from the
    other pods so far."""


@dataclass
class Step:
    """The step that the pods are at."""

    number: int
    serial: int
    batch: Batch
    predicted: Array | None
    rate: np.float32
    owners: dict[int, int]
    """Part → pod."""
    done: dict[int, Message] = field(default_factory=dict)
    """By pod."""


class Pods:
    """A number of pods, each of which has a mesh for itself."""

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
        """`recipe`: of one pod. folder: for logs and compiled programs. environment: the run's record of it.

        cores: those that each pod is pinned to, by default none. command: what starts a pod.
        """
        self.count = count
        self._fleet = Fleet(recipe, count, folder, environment, patience, cores, command)
        self._folder, self._tell = folder, tell
        self._attempts = dict.fromkeys(range(count), 0)
        self._torn: dict[int, set[int]] = defaultdict(set)
        """By life: those to whom its links were lost though both lived."""
        self._serial = self._offset = 0
        """Steps taken, those before a rollback too; and by how many these are more than the step's number."""
        self._step: Step | None = None
        self._part: Batch | None = None
        self._digests = Digests()

    # What a run does with them

    def put_state(self, arrays: Sequence[Array], number: int, batch: Batch) -> None:
        """Has all pods go on from a state after step `number`; the first time it starts them.

        `batch`: one of the size that comes next. Raises RunStopped if there is no pod left, or if one does not hold
        what it was given.
        """
        if self._part:
            self._agree()
        self._part = self._leaves(batch, 0)
        if not self._fleet.lives:
            for each in range(self.count):
                self._fleet.start(each, self._part)
            while self._fleet.at("starting"):
                self._attend()
        for newcomer in self._fleet.at("ready"):
            self._link(newcomer)
        self._offset = self._serial - number
        self._digests.start(self._serial, fingerprint(arrays))
        holders = self._fleet.at("ready", "living")
        for pod in holders:
            self._fleet.give_state(pod, arrays)
        for pod in holders:
            self._hear_that_it_holds(pod)
        if not self._living:
            raise RunStopped(f"no pod could be started (what they said: {self._folder}/pod-*.log)")

    def step(self, number: int, batch: Batch, predicted: Array | None, rate: np.float32) -> Taken:
        """Takes a step: batch [leaves, micro_batch, …] of NumPy's arrays; `predicted`: tokens scored a leaf.

        Raises RunStopped if no pod is left, or if they did not hold the same state before it.
        """
        self._admit()
        self._serial += 1
        self._part = self._leaves(batch, 0)
        owners = assign(self.count, [pod.number for pod in self._living])
        self._step = step = Step(number, self._serial, batch, predicted, rate, owners)
        for pod in self._living:
            self._order(step, pod, "step", [part for part, owner in owners.items() if owner == pod.number])
        while any(pod.number not in step.done for pod in self._living):
            self._attend()
        self._step = None
        for pod in self._living:
            pod.steps += 1
            if pod.steps == _SETTLED:
                self._attempts[pod.number] = 0
        return Taken(step.done[min(step.done)].arrays, {pod: told.fields for pod, told in sorted(step.done.items())})

    def state(self) -> Sequence[Array]:
        """The state that the pods hold, once all agree on its digest; RunStopped if they do not."""
        self._agree()
        while True:
            pod = self._living[0]
            arrays = self._fleet.ask_for_state(pod)
            if self._answer(pod):
                pod.state = Delivery([])
                self._check(pod, fingerprint(arrays))
                return arrays

    def close(self) -> None:
        """Ends all processes."""
        self._fleet.close()

    @property
    def _living(self) -> list[PodProcess]:
        return self._fleet.at("living")

    def _order(self, step: Step, pod: PodProcess, kind: str, parts: Sequence[int]) -> None:
        """Has a pod compute parts of the step."""
        shares = {part: named(self._leaves(step.batch, part)) for part in parts}
        arrays = {f"{part}/{name}": array for part, share in shares.items() for name, array in share.items()}
        if step.predicted is not None:
            arrays["predicted"] = step.predicted
        self._fleet.tell(pod, kind, arrays, serial=step.serial, rate=float(step.rate), parts=parts)

    def _leaves(self, batch: Batch, part: int) -> Batch:
        leaves = leaves_of(part, self.count, len(batch.tokens))
        share: Batch = jax.tree.map(lambda array: array[leaves.start : leaves.stop], batch)
        return share

    # Pods that come

    def _admit(self) -> None:
        """Has pods that are ready join, with the state of one that lives."""
        while newcomers := self._fleet.at("ready"):
            newcomer = newcomers[0]
            self._agree()
            self._link(newcomer)
            while newcomer.stage == "ready":
                donor = self._living[0]
                self._fleet.ask(newcomer, "give", by=donor, to=newcomer.life)
                self._hear_that_it_holds(newcomer, donor)

    def _link(self, newcomer: PodProcess) -> None:
        """Has a pod make links to all that have made theirs: whoever comes later makes one to it. (Which is not the
        order in which they were started: one that was may take longer to compile.)"""
        there = [pod for pod in self._fleet.at("ready", "living") if pod.linked]
        self._fleet.ask(newcomer, "link", peers=[{"life": pod.life, "port": pod.port} for pod in there])
        newcomer.linked = self._answer(newcomer) is not None

    def _hear_that_it_holds(self, pod: PodProcess, donor: PodProcess | None = None) -> None:
        """Waits until a pod says that it holds the state which it is given; with that it has joined."""
        if not (answer := self._answer(pod, donor)):
            return
        self._check(pod, answer.fields["digest"])
        if pod.stage == "ready":
            pod.stage = "living"
            source = f" with the state of pod {donor.number}" if donor else ""
            self._tell("pod joined", f"pod {pod.number} joined after step {self._number}{source}", pod=pod.number,
                       step=self._number, process=pod.pid, **({"donor": donor.number} if donor else {}))  # fmt: skip

    # Pods that go

    def _lose(self, pod: PodProcess, why: str) -> None:
        """Ends a process, has the others go on without it, and starts another in its place."""
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
        self._attempts[pod.number] += 1
        if self._attempts[pod.number] < _ATTEMPTS:
            assert self._part is not None
            self._fleet.start(pod.number, self._part)
        else:
            self._tell("pod given up", f"pod {pod.number} given up after {_ATTEMPTS} attempts", pod=pod.number)
        if joined and self._step:
            self._give_away(self._step, pod.number)

    def _part_ways(self, pod: PodProcess, other: PodProcess, why: str) -> None:
        """Loses one of two pods that do not reach each other: the one that has not joined yet, or that has lost more
        links to others who live; else the one of which it is said."""
        if not other.ends_by_itself():
            self._torn[pod.life].add(other.life)
            self._torn[other.life].add(pod.life)
            if self._standing(pod) < self._standing(other):
                pod, other = other, pod
        self._lose(other, f"out of reach of pod {pod.number}: {why}")

    def _standing(self, pod: PodProcess) -> tuple[bool, int]:
        return pod.stage == "living", -len(self._torn[pod.life])

    def _give_away(self, step: Step, lost: int) -> None:
        """Gives a lost pod's leaves to others, unless all that live are done with the step."""
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
        text = f"all pods are lost at step {self._number}; the same command goes on from the last checkpoint"
        self._tell("all pods lost", text, step=self._number)
        return f"{text} (what they said: {self._folder}/pod-*.log)"

    # What they say

    @property
    def _number(self) -> int:
        """Of the step that the pods are at, or that all have done."""
        return self._serial - self._offset

    def _attend(self) -> None:
        """Takes notice of one message, or of silence."""
        if news := self._fleet.next():
            self._take_notice(*news)
        if difference := self._digests.compare([pod.number for pod in self._living]):
            self._stop(difference)

    def _take_notice(self, pod: PodProcess, message: Message) -> None:
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
                    self._part_ways(pod, other, fields["why"])
            case "lost":
                self._lose(pod, fields["why"])

    def _answer(self, pod: PodProcess, source: PodProcess | None = None) -> Message | None:
        """What a pod answers; None if it is lost, or the one where it is to get it from."""
        while pod.answer is None and pod.stage != "lost" and not (source and source.stage == "lost"):
            self._attend()
        return pod.answer

    def _agree(self) -> None:
        """Waits until all have reported the digest of the last step."""
        while self._digests.serial < self._serial:
            self._attend()

    def _check(self, pod: PodProcess, digest: str) -> None:
        """That a pod's state is what all have agreed on."""
        if digest != self._digests.agreed:
            self._stop(Difference(self._serial, [pod.number], CHANGED))

    def _stop(self, difference: Difference) -> None:
        step = difference.serial - self._offset
        names = " and ".join(map(str, difference.pods))
        text = f"step {step}: pod{'s' * (len(difference.pods) > 1)} {names}: {difference.what}"
        self._tell("digest mismatch", text, step=step, pods=difference.pods)
        raise RunStopped(f"{text}; the same command goes on from the last checkpoint")
