"""A pod. It holds the state, computes parts of a step's sums, exchanges them with the other pods, and updates.

All events come through one queue: orders from the client, complete arrays from other pods, and lost links. One thread
handles them in turn and then does all work that has become possible; the other threads only send and receive.
"""

import contextlib
import os
import queue
import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn

import jax
import numpy as np

from palmetto.pods.exchange import Exchange
from palmetto.pods.parcels import Parcel, fingerprint
from palmetto.pods.peers import Peers
from palmetto.pods.programs import Programs, named_metrics, on_host
from palmetto.pods.wire import Array, LinkLost, Message, connect, start_thread
from palmetto.recipe import loading
from palmetto.training.step.gradient import BatchSums
from palmetto.training.step.loss import Batch
from palmetto.training.step.state import State


@dataclass
class StepWork:
    """The present or last step of this pod."""

    serial: int
    rate: np.float32
    to_do: deque[tuple[int, Batch, Array | None]] = field(default_factory=deque)
    """The parts to compute, as (part, leaves, predicted tokens of each leaf)."""
    computed: dict[int, BatchSums] = field(default_factory=dict)
    """The sums of the parts that this pod has computed."""
    done: bool = False
    computing: float = 0.0
    """The seconds spent on gradients."""
    ready_at: float = 0.0
    """The time at which this pod had computed its last part."""


class Worker:
    """The work of a pod's process."""

    def __init__(self, order: dict[str, Any]) -> None:
        """order: the settings from the client (`Fleet.start`)."""
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._programs = Programs(loading.load(order["recipe"]), order["parts"])
        self._exchange = Exchange(jax.tree.leaves(self._programs.state_shapes))
        patience: float = order["patience"]
        self._peers = Peers(
            order["life"],
            order["secret"],
            patience,
            self._exchange.place,
            self._deliver,
            self._report,
        )
        self._hasher = ThreadPoolExecutor(1)
        self._digest: Future[str] | None = None
        self._state: State | None = None
        self._step: StepWork | None = None
        self._client = connect(order["port"], patience)
        self._client.send("hello", life=order["life"], secret=order["secret"], port=self._peers.port)
        start_thread(self._hear_client)
        start_thread(self._show_life, patience / 8)
        self._programs.compile(_shapes_of(order["part"]))
        self._exchange.expect(jax.tree.leaves(self._programs.sums_shapes))

    def _hear_client(self) -> None:
        try:
            while True:
                self._deliver(self._client.receive(self._exchange.place))
        except LinkLost as error:
            self._end(error)

    def _report(self, life: int, why: str) -> None:
        """Reports to the client that another pod cannot be reached."""
        with contextlib.suppress(LinkLost):  # without the client, this process is about to end
            self._client.send("unreachable", life=life, why=why)

    def _show_life(self, seconds: float) -> None:
        try:
            while True:
                self._client.send("alive")
                time.sleep(seconds)
        except LinkLost as error:
            self._end(error)

    def _end(self, error: LinkLost) -> None:
        """Ends the process because the client has gone."""
        print(f"the client {error}", file=sys.stderr, flush=True)
        os._exit(1)

    def _deliver(self, message: Message) -> None:
        """Queues a received message; of the chunks of an array, only the one that completes it."""
        if "chunk" not in message.fields or self._exchange.note(message.kind, message.fields):
            self._inbox.put(message)

    def run(self) -> NoReturn:
        """Works until the process is ended or the client has gone."""
        self._client.send("ready")
        while True:
            self._handle(self._inbox.get())
            if self._step:
                self._go_on(self._step)

    def _handle(self, message: Message) -> None:
        fields = message.fields
        match message.kind:
            case "link":
                self._link(fields["peers"])
                self._client.send("linked", request=fields["request"])
            case "state":
                if (arrived := self._exchange.take_state(fields["request"])) is None:
                    return  # its donor was lost, and another has begun to send its state
                self._state = self._programs.place_state(list(arrived))
                self._step = None
                digest = fingerprint(on_host(self._state))
                self._client.send("holds", digest=digest, request=fields["request"])
            case "give":
                self._give(fields["to"], fields["request"])
            case "step":
                self._begin(message)
            case "take over":
                if self._step and self._step.serial == fields["serial"]:
                    self._step.to_do.extend(_parts(message))
            case "gone":
                self._peers.drop(fields["life"])

    def _link(self, peers: list[dict[str, int]]) -> None:
        for peer in peers:
            try:
                self._peers.connect(peer["life"], peer["port"])
            except LinkLost as error:
                self._report(peer["life"], str(error))

    def _give(self, to: int | None, request: int) -> None:
        """Sends the state to another pod, or to the client."""
        assert self._state is not None
        parcel = Parcel(on_host(self._state))
        if to is not None:
            self._peers.post(to, "state", parcel, request=request)
            return
        for chunk in range(len(parcel)):
            self._client.send_chunk("state", parcel.pieces(chunk), chunk=chunk, request=request)

    def _begin(self, message: Message) -> None:
        parts = _parts(message)
        self._programs.compile(parts[0][1])
        self._step = StepWork(message.fields["serial"], np.float32(message.fields["rate"]), deque(parts))
        self._exchange.begin(self._step.serial)

    def _go_on(self, step: StepWork) -> None:
        """Computes the parts that this pod has to do, and updates once all sums have arrived."""
        while step.to_do:
            part, leaves, target_count = step.to_do.popleft()
            if (arrived := self._exchange.part(part)) is not None:  # the lost pod had sent it here before
                arrays = [array.copy() for array in arrived]
            else:
                arrays = self._compute(step, part, leaves, target_count)
            parcel = Parcel(arrays)
            for life in self._peers.lives:
                self._peers.post(life, "part", parcel, serial=step.serial, part=part)
        if not step.done and (sums := self._all_parts(step)) is not None:
            self._update(step, sums)

    def _compute(self, step: StepWork, part: int, leaves: Batch, target_count: Array | None) -> list[Array]:
        assert self._state is not None
        start = time.perf_counter()
        sums = self._programs.gradients(self._state, leaves, target_count)
        step.computed[part] = jax.block_until_ready(sums)
        step.ready_at = time.perf_counter()
        step.computing += step.ready_at - start
        return on_host(sums)

    def _all_parts(self, step: StepWork) -> tuple[BatchSums, ...] | None:
        """Returns the sums of all parts in order, or None if some have not arrived."""
        arrived = {part: self._exchange.part(part) for part in range(self._programs.parts)}
        if not all(part in step.computed or arrays is not None for part, arrays in arrived.items()):
            return None
        return tuple(
            step.computed[part] if part in step.computed else self._programs.place_sums(list(arrays or ()))
            for part, arrays in arrived.items()
        )

    def _update(self, step: StepWork, sums: tuple[BatchSums, ...]) -> None:
        assert self._state is not None
        waited_until = time.perf_counter()
        if self._digest:
            self._digest.result()  # it reads the state that the update will overwrite
        before = fingerprint(on_host(self._state))
        state, metrics = self._programs.update(self._state, sums, step.rate)
        self._state = jax.block_until_ready(state)
        step.done = True
        sent, received = self._peers.traffic()
        seconds = {
            "gradients": step.computing,
            "exchange": waited_until - step.ready_at,
            "update": time.perf_counter() - waited_until,
            "processor": time.process_time(),
        }
        self._client.send(
            "done", named_metrics(metrics), serial=step.serial, seconds=seconds, sent=sent, received=received
        )
        self._digest = self._hasher.submit(self._tell_digest, step.serial, before, on_host(state))

    def _tell_digest(self, serial: int, before: str, state: list[Array]) -> str:
        """Reports the digests of a step, in the background of the next step, whose update waits for it."""
        digest = fingerprint(state)
        self._client.send("digest", serial=serial, before=before, after=digest)
        return digest


def _parts(message: Message) -> list[tuple[int, Batch, Array | None]]:
    """Returns the parts that an order names, from arrays "0/tokens", "0/scored", "0/prefix", …, and "target_count"."""
    arrays = message.arrays
    return [
        (part, Batch(**{name: arrays.get(f"{part}/{name}") for name in Batch._fields}), arrays.get("target_count"))  # type: ignore[arg-type]
        for part in message.fields["parts"]
    ]


def _shapes_of(described: dict[str, tuple[list[int], str]]) -> Batch:
    """Returns a batch of shapes from its description in the client's order."""
    return Batch(**{name: jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for name, (shape, dtype) in described.items()})  # type: ignore[arg-type]
