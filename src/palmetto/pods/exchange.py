"""What has come from other pods: the parts of a step's sums, and a state; filled by the threads that receive."""

import threading
from collections.abc import Sequence
from typing import Any

import jax

from palmetto.pods.parcels import Delivery
from palmetto.pods.wire import Array, Pieces

Shapes = Sequence[jax.ShapeDtypeStruct]


class Exchange:
    """The place where arrays arrive, and whether they are all there.

    Parts belong to a step's serial number, which the client counts up. A part may come twice, as another pod takes over
    from one that is lost in the middle of sending; it has the same bits, and what is there already is let go by.
    Memory is kept from one step to the next: parts of a step are sent only once all pods are done with the one before.
    """

    def __init__(self, state: Shapes) -> None:
        self._lock = threading.Lock()
        self._state_shapes, self._state = state, Delivery([])
        self._state_request = 0
        self._sums_shapes: Shapes = ()
        self._serial = 0
        self._parts: dict[int, Delivery] = {}

    def expect(self, sums: Shapes) -> None:
        """Says how a part's arrays are shaped, which must be known before the first is on its way."""
        self._sums_shapes = sums

    def place(self, kind: str, fields: dict[str, Any]) -> Pieces | None:
        """Where the bytes of a chunk go; None if they are not needed any more."""
        with self._lock:
            chunk = fields["chunk"]
            if kind == "state":
                if chunk == 0:
                    self._state = Delivery(self._state_shapes)  # new memory: the state there is still in use
                    self._state_request = fields["request"]
                return self._state.pieces(chunk) if fields["request"] == self._state_request else None
            delivery = self._delivery(fields["serial"], fields["part"])
            return None if delivery is None or delivery.has(chunk) else delivery.pieces(chunk)

    def note(self, kind: str, fields: dict[str, Any]) -> bool:
        """Notes that a chunk has come whole; whether with it all of its part, or of the state, is there."""
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
        """Goes on to a step; perhaps others were quicker, and its first parts are there."""
        with self._lock:
            self._go_to(serial)

    def part(self, part: int) -> Sequence[Array] | None:
        """The arrays of a part, if all of it is there."""
        with self._lock:
            delivery = self._parts.get(part)
            return delivery.arrays if delivery is not None and delivery.complete else None

    def take_state(self, request: int) -> Sequence[Array] | None:
        """The state that has come in answer to a request; None if what comes now is in answer to another."""
        with self._lock:
            if request != self._state_request:
                return None
            state, self._state = self._state, Delivery([])
            return state.arrays
