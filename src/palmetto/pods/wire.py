"""Messages between processes over TCP: each arrives whole and as it was sent, or the link is lost.

A frame is a fixed head (lengths and checksums), a JSON object and bytes. Head and JSON have a CRC-32; the checksum of
the bytes, of which there are many, is their sum as 64-bit words, which finds any one changed word and runs as fast as
memory. Once a link is lost it stays lost: there is no place in a torn stream where one could go on.
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
"""Bytes that travel one after the other, from or to where they lie in memory."""

_HEAD = struct.Struct("!4sIIQQ")  # magic, CRC-32 of the rest and the JSON, its length, the bytes' length and checksum
_MAGIC = b"pod1"
_LONGEST_JSON = 1 << 24
_LONGEST_HELLO = 1 << 12


class LinkLost(Exception):
    """The other end is gone, has fallen silent, or what came from it was not what it sent; the message says which."""


class Message(NamedTuple):
    """What one process tells another."""

    kind: str
    fields: dict[str, Any]
    arrays: dict[str, Array]
    """Small arrays that go with it; what is large travels in chunks, into memory that waits for it."""


Place = Callable[[str, dict[str, Any]], Pieces | None]
"""(kind, fields) of a chunk → where its bytes go; None: nowhere, as they are not needed any more."""


class Link:
    """A connection that whole messages go through, both ways. Any thread may send; one receives."""

    def __init__(self, connection: socket.socket, patience: float) -> None:
        """patience: seconds after which the link is lost, where a message once begun goes no further, or a piece of
        one has not gone out."""
        connection.settimeout(patience)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = time.monotonic()
        """When bytes came last."""
        self.sent = self.received = 0
        """Bytes of chunks, either way."""
        self._socket, self._patience, self._sending = connection, patience, threading.Lock()

    def send(self, kind: str, arrays: Mapping[str, Array] | None = None, **fields: Any) -> None:
        """Sends a message; LinkLost where it cannot."""
        arrays = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
        described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
        payload = b"".join(map(bytes_of, arrays.values()))
        self._send({"kind": kind, "arrays": described, **fields}, [memoryview(payload)])

    def send_chunk(self, kind: str, pieces: Pieces, **fields: Any) -> None:
        """Sends bytes that the receiver has a place for."""
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
        """The next message, however long it takes to come; LinkLost where none can."""
        start = bytearray(_HEAD.size)
        self._read(memoryview(start), waiting=True)
        return self._receive(start, place, None)

    def receive_hello(self, secret: str) -> Message:
        """The first message, from who may be anybody on this machine; LinkLost unless all of it comes within the
        patience, and it is short, without arrays, and has the secret."""
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
        """The message whose head is `start`."""
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
            raise LinkLost("sent a message of another length than is expected")
        for piece in pieces:
            self._read(piece)
        if (place_of_chunk or described is not None) and checksum(pieces) != expected:
            raise LinkLost("sent a message whose checksum is wrong")
        if described is None:
            self.received += length
            return Message(kind, head, {})
        return Message(kind, head, _arrays(described, pieces[0]))

    def _read(self, view: memoryview, deadline: float | None = None, *, waiting: bool = False) -> None:
        """Fills `view`, by the deadline. waiting: it is no harm if its first byte is long in coming."""
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
        """Ends it, also for a thread that is waiting in `receive`."""
        with contextlib.suppress(OSError):  # the other end was quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def start_thread(target: Callable[..., None], *arguments: Any) -> None:
    """A thread that ends with the process, and the process with it if it fails."""

    def run() -> None:
        try:
            target(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=run, daemon=True).start()


def connect(port: int, patience: float) -> Link:
    """A link to who listens on a port of this machine; LinkLost where nobody does."""
    try:
        return Link(socket.create_connection(("127.0.0.1", port), patience), patience)
    except OSError as error:
        raise LinkLost(_reason(error)) from None


def bytes_of(array: Array) -> memoryview:
    """The bytes of a contiguous array, where they lie."""
    return array.reshape(-1).view(np.uint8).data


def checksum(pieces: Pieces) -> int:
    """The sum of all 64-bit words modulo 2**64; the bytes that a piece has over are a word too."""
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
