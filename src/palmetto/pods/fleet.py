"""The processes of a run's pods, and what they say; what to make of it is the client's affair."""

import queue
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from palmetto.files import write_text
from palmetto.parallel.sharding import Sharding
from palmetto.pods.door import Door
from palmetto.pods.parcels import Delivery, Parcel
from palmetto.pods.process import PodProcess, Stage
from palmetto.pods.wire import Array, Link, LinkLost, Message
from palmetto.recipe import Recipe, loading
from palmetto.training.step import state as states
from palmetto.training.step.loss import Batch

START_UP = 120.0
"""Seconds that a process has for its first sign of life: it has Python and JAX to load."""

_TICK = 0.2
"""Seconds without a message after which one looks around for processes that cannot say anything any more."""


class Fleet:
    """Processes by the number of their life, which no two ever have. One thread each receives."""

    def __init__(
        self,
        recipe: Recipe,
        count: int,
        folder: Path,
        environment: Mapping[str, Any] | None,
        patience: float,
        cores: Sequence[Sequence[int]] | None,
        command: Sequence[str],
    ) -> None:
        """See `Pods`."""
        self.lives: dict[int, PodProcess] = {}
        self._secret = secrets.token_hex(16)
        self._order = {
            "secret": self._secret,
            "patience": patience,
            "environment": environment,
            "threads": recipe.training.threads,
            "devices": recipe.mesh.devices,
            "recipe": str(folder.absolute() / "recipe.yaml"),
            "parts": count,
        }
        write_text(folder / "recipe.yaml", loading.dump(recipe))
        self._folder, self._patience, self._cores, self._command = folder, patience, cores, command
        self._state_shapes = jax.tree.leaves(states.shapes(recipe, Sharding(recipe)))
        self._inbox: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self._started = self._requests = 0
        self._door = Door(self._secret, patience, self._hear)

    def at(self, *stages: Stage) -> list[PodProcess]:
        """The processes at some stages, by pod."""
        return sorted((pod for pod in self.lives.values() if pod.stage in stages), key=lambda pod: pod.number)

    def start(self, number: int, part: Batch) -> None:
        """Starts a pod, which compiles for such a part of a batch."""
        shapes = {name: [array.shape, str(array.dtype)] for name, array in named(part).items()}
        order = self._order | {
            "life": self._started,
            "port": self._door.port,
            "cores": self._cores[number] if self._cores else None,
            "part": shapes,
        }
        log = self._folder / f"pod-{number}.log"
        self.lives[self._started] = PodProcess(number, self._started, log, order, self._command)
        self._started += 1

    def next(self) -> tuple[PodProcess, Message] | None:
        """The next message: "lost" of a pod whose link or process is. None if nothing was said for a while, or only by
        those who are lost."""
        try:
            life, message = self._inbox.get(timeout=_TICK)
        except queue.Empty:
            return self._look_around()
        return (self.lives[life], message) if life in self.lives else None

    def _look_around(self) -> tuple[PodProcess, Message] | None:
        for pod in self.lives.values():
            patience = self._patience if pod.link else START_UP
            if pod.has_ended or pod.silence > patience:
                return pod, _lost("ended" if pod.has_ended else f"no sign of life for {patience:g} s")
        return None

    def tell(self, pod: PodProcess, kind: str, arrays: Mapping[str, Array] | None = None, **fields: Any) -> None:
        """Sends a message. That a pod cannot be reached is a message, as all else that becomes of it."""
        assert pod.link is not None
        try:
            pod.link.send(kind, arrays, **fields)
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))

    def ask(self, pod: PodProcess, kind: str, by: PodProcess | None = None, **fields: Any) -> None:
        """Has a pod answer, or `by` do what makes it answer; the answer to what it was asked before does not count."""
        self._expect_answer(pod)
        self.tell(by or pod, kind, request=pod.request, **fields)

    def _expect_answer(self, pod: PodProcess) -> None:
        self._requests += 1
        pod.request, pod.answer = self._requests, None

    def give_state(self, pod: PodProcess, arrays: Sequence[Array]) -> None:
        """Sends a state; the pod answers that it holds it."""
        assert pod.link is not None
        self._expect_answer(pod)
        parcel = Parcel(arrays)
        try:
            for chunk in range(len(parcel)):
                pod.link.send_chunk("state", parcel.pieces(chunk), chunk=chunk, request=pod.request)
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))

    def ask_for_state(self, pod: PodProcess) -> Sequence[Array]:
        """The memory where a pod's state is, once it has answered."""
        pod.state = Delivery(self._state_shapes)
        self.ask(pod, "give", to=None)
        return pod.state.arrays

    def close(self) -> None:
        """Ends all processes."""
        for pod in self.lives.values():
            pod.end("not needed any more")
        self.lives.clear()
        self._door.close()

    def _hear(self, link: Link, hello: Message) -> None:
        """Takes what one pod says, until its link is lost."""
        if (pod := self.lives.get(hello.fields["life"])) is None:  # lost before it came to say so
            return
        pod.port, pod.link = hello.fields["port"], link
        try:
            while True:
                message = link.receive(lambda kind, fields: pod.state.pieces(fields["chunk"]))
                # Of a sign of life it is enough that it came, of a state's chunks that all have.
                is_news = pod.state.note(message.fields["chunk"]) if message.kind == "state" else True
                if is_news and message.kind != "alive":
                    self._inbox.put((pod.life, message))
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))


def named(batch: Batch) -> dict[str, Array]:
    """A batch as a message takes it."""
    return {name: np.asarray(array) for name, array in batch._asdict().items() if array is not None}


def _lost(why: str) -> Message:
    return Message("lost", {"why": why}, {})
