"""Runs a pod with a fault: python pod_faults.py FAULTS < order, with FAULTS as {life: [number of its step, fault]}.

killed      SIGKILL while it computes
torn        SIGKILL while it sends a chunk of its part
stopped     SIGSTOP: its connections remain open, but it sends nothing
donor       SIGKILL while it sends its state
deaf        it cannot connect to other pods
cut         its links to other pods are closed, but not its link to the client
garbled     it sends a chunk with a wrong checksum
flipped     a bit of its state changes between two steps
wrong       the result of an update has one wrong bit
"""

import json
import os
import signal
import socket
import sys
from typing import Any

from palmetto.host import environment

CHUNK = 4096
"""The size of a chunk in bytes, so small that even a tiny model has many chunks."""


def main() -> None:
    order = json.loads(sys.stdin.readline())
    environment.prepare(order["threads"], order["environment"], order["devices"])
    import numpy as np

    from palmetto.pods import parcels
    from palmetto.pods.peers import Peers
    from palmetto.pods.programs import on_host
    from palmetto.pods.wire import Link, LinkLost
    from palmetto.pods.worker import StepWork, Worker
    from palmetto.training.step.state import State

    parcels.CHUNK = CHUNK
    at, fault = json.loads(sys.argv[1]).get(str(order["life"]), [0, ""])
    taken = 0

    def is_due(what: str) -> bool:
        return taken == at and fault == what

    class Faulty(Worker):
        def _begin(self, *arguments: Any) -> None:
            nonlocal taken
            taken += 1
            super()._begin(*arguments)

        def _compute(self, *arguments: Any) -> Any:
            arrays = super()._compute(*arguments)
            if is_due("killed"):
                os.kill(os.getpid(), signal.SIGKILL)
            if is_due("stopped"):
                os.kill(os.getpid(), signal.SIGSTOP)
            if is_due("cut"):
                for link in list(self._peers._links.values()):
                    link._socket.shutdown(socket.SHUT_RDWR)
            return arrays

        def _update(self, step: StepWork, *arguments: Any) -> None:
            super()._update(step, *arguments)
            if is_due("flipped"):
                assert self._digest
                self._digest.result()
                self._state = self._flip(self._state)

        def _tell_digest(self, serial: int, before: str, state: Any) -> str:
            if is_due("wrong"):
                self._state = self._flip(self._state)
                state = on_host(self._state)
            return super()._tell_digest(serial, before, state)

        def _flip(self, state: State | None) -> State:
            assert state
            arrays = [array.copy() for array in on_host(state)]
            arrays[-1].reshape(-1).view(np.uint32)[0] ^= 1
            return self._programs.place_state(arrays)

    send_chunk = Link.send_chunk

    def send(self: Link, kind: str, pieces: Any, **fields: Any) -> None:
        if fault == "donor" and kind == "state" and fields["chunk"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "part" and fields["chunk"] == 3:
            if is_due("torn"):
                self._socket.sendall(b"pod1" + bytes(9))
                os.kill(os.getpid(), signal.SIGKILL)
            if is_due("garbled"):
                whole = self._socket
                self._socket = Garbling(whole)  # type: ignore[assignment]
                send_chunk(self, kind, pieces, **fields)
                self._socket = whole
                return
        send_chunk(self, kind, pieces, **fields)

    connect = Peers.connect

    def connect_unless_deaf(self: Peers, life: int, port: int) -> None:
        if fault == "deaf":
            raise LinkLost("does not answer")
        connect(self, life, port)

    Peers.connect = connect_unless_deaf  # type: ignore[method-assign]

    class Garbling:
        def __init__(self, whole: socket.socket) -> None:
            self.whole = whole

        def __getattr__(self, name: str) -> Any:  # for the thread that receives at the same time
            return getattr(self.whole, name)

        def sendall(self, data: bytes | memoryview) -> None:
            garbled = bytearray(data)
            garbled[-1] ^= isinstance(data, memoryview)  # the payload, not the head
            self.whole.sendall(garbled)

    Link.send_chunk = send  # type: ignore[method-assign]
    Faulty(order).run()


if __name__ == "__main__":
    main()
