"""The arrays that a pod receives from other pods: the parts of a step's sums, and a state."""

import threading
from collections.abc import Sequence
from typing import Any

import jax

from palmetto.pods.parcels import Delivery
from palmetto.pods.wire import Array, Pieces

Shapes = Sequence[jax.ShapeDtypeStruct]


class Exchange:
    """Holds the memory for incoming arrays, and tracks which chunks have arrived. Receiving threads fill it.

    A part belongs to a step by its serial number, which the client counts up. A part may arrive twice, because another
    pod repeats the part of a pod that was lost while sending. Both have the same bits, and chunks that have arrived are
    skipped. Memory is reused by the next step: its parts are sent only after all pods have finished this one.
    """

    def __init__(self, state: Shapes) -> None:
        self._lock = threading.Lock()
        self._state_shapes, self._state = state, Delivery([])
        self._state_request = 0
        self._sums_shapes: Shapes = ()
        self._serial = 0
        self._parts: dict[int, Delivery] = {}

    def expect(self, sums: Shapes) -> None:
        """Sets the shapes of a part's arrays, before the first part is sent."""
        self._sums_shapes = sums

    def place(self, kind: str, fields: dict[str, Any]) -> Pieces | None:
        """Returns the memory for a chunk, or None if the chunk is not needed any more."""
        with self._lock:
            chunk = fields["chunk"]
            if kind == "state":
                if chunk == 0:
                    self._state = Delivery(self._state_shapes)  # new memory, since the old state is still in use
                    self._state_request = fields["request"]
                return self._state.pieces(chunk) if fields["request"] == self._state_request else None
            delivery = self._delivery(fields["serial"], fields["part"])
            return None if delivery is None or delivery.has(chunk) else delivery.pieces(chunk)

    def note(self, kind: str, fields: dict[str, Any]) -> bool:
        """Records that a chunk has arrived; returns whether it completes its part, or the state."""
        with self._lock:
            if kind == "state":
                return fields["request"] == self._state_request and self._state.note(fields["chunk"])
            delivery = self._delivery(fields["serial"], fields["part"])
            return delivery is not None and delivery.note(fields["chunk"])

    def _delivery(self, serial: int, part: int) -> Delivery | None:
        self._go_to(serial)
        if serial < self._serial:
            return None
        if part not in self._parts:
            self._parts[part] = Delivery(self._sums_shapes)
        return self._parts[part]

    def _go_to(self, serial: int) -> None:
        if serial > self._serial:
            self._serial = serial
            for delivery in self._parts.values():
                delivery.start()

    def begin(self, serial: int) -> None:
        """Begins a step, unless parts from faster pods have begun it already."""
        with self._lock:
            self._go_to(serial)

    def part(self, part: int) -> Sequence[Array] | None:
        """Returns the arrays of a part, or None if it is not complete."""
        with self._lock:
            delivery = self._parts.get(part)
            return delivery.arrays if delivery is not None and delivery.complete else None

    def take_state(self, request: int) -> Sequence[Array] | None:
        """Returns the state that answers a request, or None if the state of a later request is arriving."""
        with self._lock:
            if request != self._state_request:
                return None
            state, self._state = self._state, Delivery([])
            return state.arrays
