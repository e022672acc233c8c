"""The processes of a run's pods, and the messages from and to them. The client decides what to do about them."""

import queue
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from palmetto.files import write_text
from palmetto.host.environment import products
from palmetto.parallel.sharding import Sharding
from palmetto.pods.listener import Listener
from palmetto.pods.parcels import Delivery, Parcel
from palmetto.pods.process import PodProcess, Stage
from palmetto.pods.wire import Array, Link, LinkLost, Message
from palmetto.recipe import Recipe, loading
from palmetto.training.step import state as states
from palmetto.training.step.loss import Batch

START_UP = 120.0
"""Seconds until a process must have shown a sign of life; it has to load Python and JAX first."""

_TICK = 0.2
"""Seconds without a message after which the fleet looks for processes that have ended or fallen silent."""


class Fleet:
    """The processes of the pods. Each has a number of its own, its life, which no other process ever gets."""

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
        """Takes the arguments of `Pods`; the first `start` writes and opens what the processes need."""
        self.lives: dict[int, PodProcess] = {}
        self._secret = secrets.token_hex(16)
        self._order = {
            "secret": self._secret,
            "patience": patience,
            "environment": environment,
            "products": products(jax.default_backend()),
            "threads": recipe.training.threads,
            "devices": recipe.mesh.devices,
            "recipe": str(folder.absolute() / "recipe.yaml"),
            "parts": count,
        }
        self._recipe, self._folder, self._patience = recipe, folder, patience
        self._cores, self._command = cores, command
        self._state_shapes = jax.tree.leaves(states.shapes(recipe, Sharding(recipe)))
        self._inbox: queue.SimpleQueue[tuple[int, Message]] = queue.SimpleQueue()
        self._started = self._requests = 0

    @cached_property
    def _listener(self) -> Listener:
        """Returns the listener that processes connect to, after writing the recipe that they read."""
        write_text(self._folder / "recipe.yaml", loading.dump(self._recipe))
        return Listener(self._secret, self._patience, self._hear)

    def at(self, *stages: Stage) -> list[PodProcess]:
        """Returns the processes at the given stages, in the order of their pods."""
        return sorted((pod for pod in self.lives.values() if pod.stage in stages), key=lambda pod: pod.number)

    def start(self, number: int, part: Batch) -> None:
        """Starts a process of pod `number`, which compiles its programs for a part of a batch shaped like `part`."""
        shapes = {name: [array.shape, str(array.dtype)] for name, array in named(part).items()}
        order = self._order | {
            "life": self._started,
            "port": self._listener.port,
            "cores": self._cores[number] if self._cores else None,
            "part": shapes,
        }
        log = self._folder / f"pod-{number}.log"
        self.lives[self._started] = PodProcess.start(number, self._started, log, order, self._command)
        self._started += 1

    def next(self) -> tuple[PodProcess, Message] | None:
        """Returns the next message and its process, or None if none came for a while or it is from a lost process.

        A process whose link is lost, that has ended or that has fallen silent gives the message "lost".
        """
        try:
            life, message = self._inbox.get(timeout=_TICK)
        except queue.Empty:
            return self._find_lost()
        return (self.lives[life], message) if life in self.lives else None

    def _find_lost(self) -> tuple[PodProcess, Message] | None:
        """Returns a process that has ended or fallen silent, with the message "lost", or None."""
        for pod in self.lives.values():
            patience = self._patience if pod.link else START_UP
            if pod.has_ended or pod.silence > patience:
                return pod, _lost("ended" if pod.has_ended else f"no sign of life for {patience:g} s")
        return None

    def tell(self, pod: PodProcess, kind: str, arrays: Mapping[str, Array] | None = None, **fields: Any) -> None:
        """Sends a message. If the pod cannot be reached, `next` will return the message "lost" from it."""
        assert pod.link is not None
        try:
            pod.link.send(kind, arrays, **fields)
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))

    def ask(self, pod: PodProcess, kind: str, by: PodProcess | None = None, **fields: Any) -> None:
        """Sends a request to a pod, or to `by`, whose work makes the pod answer. Earlier requests become void."""
        self._expect_answer(pod)
        self.tell(by or pod, kind, request=pod.request, **fields)

    def _expect_answer(self, pod: PodProcess) -> None:
        self._requests += 1
        pod.request, pod.answer = self._requests, None

    def give_state(self, pod: PodProcess, arrays: Sequence[Array]) -> None:
        """Sends a state to a pod, which answers when it holds it."""
        assert pod.link is not None
        self._expect_answer(pod)
        parcel = Parcel(arrays)
        try:
            for chunk in range(len(parcel)):
                pod.link.send_chunk("state", parcel.pieces(chunk), chunk=chunk, request=pod.request)
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))

    def ask_for_state(self, pod: PodProcess) -> Sequence[Array]:
        """Asks a pod for its state; returns the memory that holds the state once the pod has answered."""
        pod.state = Delivery(self._state_shapes)
        self.ask(pod, "give", to=None)
        return pod.state.arrays

    def close(self) -> None:
        """Ends all processes."""
        for pod in self.lives.values():
            pod.end("no longer needed")
        self.lives.clear()
        if "_listener" in vars(self):
            self._listener.close()

    def _hear(self, link: Link, hello: Message) -> None:
        """Receives the messages of one pod until its link is lost."""
        if (pod := self.lives.get(hello.fields["life"])) is None:  # lost in the meantime
            return
        pod.port, pod.link = hello.fields["port"], link
        try:
            while True:
                message = link.receive(lambda kind, fields: pod.state.pieces(fields["chunk"]))
                # The client hears of a state when its last chunk has arrived, and does not hear of signs of life.
                is_complete = pod.state.note(message.fields["chunk"]) if message.kind == "state" else True
                if is_complete and message.kind != "alive":
                    self._inbox.put((pod.life, message))
        except LinkLost as error:
            self._inbox.put((pod.life, _lost(str(error))))


def named(batch: Batch) -> dict[str, Array]:
    """Returns the arrays of a batch by name, as a message holds them."""
    return {name: np.asarray(array) for name, array in batch._asdict().items() if array is not None}


def _lost(why: str) -> Message:
    return Message("lost", {"why": why}, {})
