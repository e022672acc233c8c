"""Messages between processes over TCP. Each message arrives complete and unchanged, or the link is lost.

A frame is a fixed head (lengths and checksums), a JSON object and a payload. The head and the JSON have a CRC-32. The
checksum of the payload is the sum of its 64-bit words, which detects any single changed word and runs at the speed of
memory. A lost link stays lost, since reading cannot continue in the middle of a stream.
"""

import contextlib
import hmac
import json
import math
import os
import socket
import struct
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pieces = Sequence[memoryview]
"""Views of the memory from which bytes are sent, or into which they are received, one after the other."""

_HEAD = struct.Struct("!4sIIQQ")  # magic, CRC-32 of the rest and the JSON, its length, the bytes' length and checksum
_MAGIC = b"pod1"
_LONGEST_JSON = 1 << 24
_LONGEST_HELLO = 1 << 12


class LinkLost(Exception):
    """Raised if the other end has closed the connection, has fallen silent, or sent damaged data; it says which."""


class Message(NamedTuple):
    """A message from one process to another."""

    kind: str
    fields: dict[str, Any]
    arrays: dict[str, Array]
    """Small arrays. Large arrays are sent in chunks, into memory that the receiver has allocated."""


Place = Callable[[str, dict[str, Any]], Pieces | None]
"""Maps (kind, fields) of a chunk to the memory for its bytes, or to None if they are not needed."""


class Link:
    """A connection for messages in both directions. Any thread may send; only one may receive."""

    def __init__(self, connection: socket.socket, patience: float) -> None:
        """patience: seconds after which the link is lost if a message stops in the middle, in either direction."""
        connection.settimeout(patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = time.monotonic()
        """The time of the last received bytes, on the monotonic clock."""
        self.sent = self.received = 0
        """The bytes of chunks sent and received so far."""
        self._socket, self._patience, self._sending = connection, patience, threading.Lock()

    def send(self, kind: str, arrays: Mapping[str, Array] | None = None, **fields: Any) -> None:
        """Sends a message. Raises LinkLost if that fails."""
        arrays = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
        payload = b"".join(map(bytes_of, arrays.values()))
        self._send({"kind": kind, "arrays": described, **fields}, [memoryview(payload)])

    def send_chunk(self, kind: str, pieces: Pieces, **fields: Any) -> None:
        """Sends a chunk of bytes, for which the receiver has allocated memory. Raises LinkLost if that fails."""
        self._send({"kind": kind, "arrays": None, **fields}, pieces)
        self.sent += sum(map(len, pieces))

    def _send(self, head: dict[str, Any], pieces: Pieces) -> None:
        text = json.dumps(head).encode()
        length = sum(map(len, pieces))
        start = _HEAD.pack(_MAGIC, 0, len(text), length, checksum(pieces))
        start = start[:4] + zlib.crc32(start[8:] + text).to_bytes(4) + start[8:]
        with self._sending:
            try:
                self._socket.sendall(start + text)
                for piece in pieces:
                    self._socket.sendall(piece)
            except TimeoutError:
                raise LinkLost(f"took nothing for {self._patience:g} s") from None
            except OSError as error:
                raise LinkLost(_reason(error)) from None

    def receive(self, place: Place | None = None) -> Message:
        """Waits for the next message, without a limit, and returns it. Raises LinkLost if the link fails."""
        start = bytearray(_HEAD.size)
        self._read(memoryview(start), waiting=True)
        return self._receive(start, place, None)

    def receive_hello(self, secret: str) -> Message:
        """Returns the first message on a link, which any process on this machine may have sent.

        Raises LinkLost unless the message arrives within the patience, is short, has no arrays and holds the secret.
        """
        start, deadline = bytearray(_HEAD.size), time.monotonic() + self._patience
        self._read(memoryview(start), deadline)
        _, _, text_length, length, _ = _HEAD.unpack(start)
        if text_length > _LONGEST_HELLO or length:
            raise LinkLost("sent something that is no message")
        hello = self._receive(start, None, deadline)
        given = str(hello.fields.get("secret")).encode(errors="surrogatepass")
        if not hmac.compare_digest(given, secret.encode()):
            raise LinkLost("does not know the secret")
        self._socket.settimeout(self._patience)
        return hello

    def _receive(self, start: bytearray, place: Place | None, deadline: float | None) -> Message:
        """Receives the rest of the message whose head is `start`."""
        magic, crc, text_length, length, expected = _HEAD.unpack(start)
        if magic != _MAGIC or text_length > _LONGEST_JSON:
            raise LinkLost("sent something that is no message")
        text = bytearray(text_length)
        self._read(memoryview(text), deadline)
        if zlib.crc32(start[8:] + text) != crc:
            raise LinkLost("sent a message whose checksum is wrong")
        try:
            head = json.loads(text)
            kind, described = head.pop("kind"), head.pop("arrays")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise LinkLost("sent something that is no message") from None
        if deadline is not None and described != []:
            raise LinkLost("sent something that is no message")
        place_of_chunk = place(kind, head) if place and described is None else None
        pieces = place_of_chunk or [memoryview(bytearray(length))]
        if sum(map(len, pieces)) != length:
            raise LinkLost("sent a message of an unexpected length")
        for piece in pieces:
            self._read(piece)
        if (place_of_chunk or described is not None) and checksum(pieces) != expected:
            raise LinkLost("sent a message whose checksum is wrong")
        if described is None:
            self.received += length
            return Message(kind, head, {})
        return Message(kind, head, _arrays(described, pieces[0]))

    def _read(self, view: memoryview, deadline: float | None = None, *, waiting: bool = False) -> None:
        """Fills `view` before the deadline. waiting: whether the first byte may take any time to arrive."""
        got = 0
        while got < len(view):
            try:
                if deadline is not None:
                    self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                count = self._socket.recv_into(view[got:])
            except TimeoutError:
                if waiting and not got:
                    continue
                raise LinkLost(f"fell silent for {self._patience:g} s in the middle of a message") from None
            except OSError as error:
                raise LinkLost(_reason(error)) from None
            if not count:
                raise LinkLost("closed" if waiting and not got else "closed in the middle of a message")
            got += count
            self.heard = time.monotonic()

    def close(self) -> None:
        """Closes the link, and ends a `receive` that waits in another thread."""
        with contextlib.suppress(OSError):  # the other end has closed it already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def start_thread(target: Callable[..., None], *arguments: Any) -> None:
    """Starts a daemon thread. If it raises an error, the process ends."""

    def run() -> None:
        try:
            target(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def connect(port: int, patience: float) -> Link:
    """Connects to a port of this machine. Raises LinkLost if nothing listens there."""
    try:
        return Link(socket.create_connection(("127.0.0.1", port), patience), patience)
    except OSError as error:
        raise LinkLost(_reason(error)) from None


def bytes_of(array: Array) -> memoryview:
    """Returns a view of the bytes of a contiguous array."""
    return array.reshape(-1).view(np.uint8).data


def checksum(pieces: Pieces) -> int:
    """Returns the sum of all 64-bit words modulo 2**64. The remaining bytes of a piece count as one word."""
    total = 0
    for piece in pieces:
        whole = len(piece) // 8 * 8
        words = np.frombuffer(piece[:whole], "<u8")
        total += int(np.add.reduce(words, dtype=np.uint64)) + int.from_bytes(piece[whole:], "little")
    return total % (1 << 64)


def _arrays(described: list[tuple[str, str, list[int]]], payload: memoryview) -> dict[str, Array]:
    arrays, start = {}, 0
    for name, dtype, shape in described:
        count = math.prod(shape)
        arrays[name] = np.frombuffer(payload, dtype, count, start).reshape(shape)
        start += arrays[name].nbytes
    return arrays


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
