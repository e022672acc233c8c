"""Messages arrive complete and unchanged, or the link is lost with a reason."""

import contextlib
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.pods.wire import Array, Link, LinkLost, bytes_of, checksum

Ends = tuple[Link, Link]


def pair() -> tuple[socket.socket, socket.socket]:
    """Returns both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = (Link(end, patience=0.3) for end in pair())
    yield ours, theirs
    ours.close()
    theirs.close()


@contextlib.contextmanager
def later(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` in a thread after `seconds`, and waits for it at the end of the context."""
    timer = threading.Timer(seconds, act)
    timer.start()
    yield
    timer.join()


def sent(tell: Callable[[Link], None]) -> bytes:
    """Returns the bytes of a message."""
    ours, theirs = pair()
    link = Link(ours, 1.0)
    tell(link)
    link.close()
    data = b""
    while part := theirs.recv(1 << 16):
        data += part
    theirs.close()
    return data


def test_a_message_arrives_as_it_was_sent(ends: Ends) -> None:
    ours, theirs = ends
    arrays: dict[str, Array] = {
        "scalar": np.asarray(np.float32(0.1)),
        "tokens": np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2],
        "scored": np.array([True, False, True]),
        "nothing": np.zeros((0, 3)),
    }
    ours.send("step", arrays, serial=7, rate=0.1)
    message = theirs.receive()
    assert (message.kind, message.fields) == ("step", {"serial": 7, "rate": 0.1})
    assert list(message.arrays) == list(arrays)
    for name, array in arrays.items():
        assert message.arrays[name].shape == array.shape
        assert message.arrays[name].dtype == array.dtype
        assert np.array_equal(message.arrays[name], array)


def test_chunks_go_to_the_memory_given_for_them(ends: Ends) -> None:
    ours, theirs = ends
    a: Array = np.arange(5, dtype=np.int32)
    b: Array = np.arange(7, dtype=np.uint8)
    there = [np.zeros_like(a), np.zeros_like(b)]
    for part in (0, 1):
        ours.send_chunk("part", [bytes_of(a), bytes_of(b)], part=part)
    for part in (0, 1):  # the second chunk is not needed
        place = [bytes_of(array) for array in there] if part == 0 else None
        assert theirs.receive(lambda kind, fields, place=place: place).fields == {"part": part}  # type: ignore[misc]
    assert np.array_equal(there[0], a)
    assert np.array_equal(there[1], b)
    assert ours.sent == theirs.received == 2 * 27


def test_a_chunk_of_an_unexpected_length_loses_the_link(ends: Ends) -> None:
    ours, theirs = ends
    ours.send_chunk("part", [memoryview(bytes(8))])
    with pytest.raises(LinkLost, match="unexpected length"):
        theirs.receive(lambda kind, fields: [memoryview(bytearray(9))])


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_any_changed_bit_is_detected(at: int, bit: int) -> None:
    data = bytearray(sent(lambda link: link.send("done", {"loss": np.arange(5, dtype=np.float32)}, serial=3)))
    data[at % len(data)] ^= 1 << bit
    ours, theirs = pair()
    ours.sendall(data)
    ours.close()
    link = Link(theirs, 0.2)
    with pytest.raises(LinkLost):
        link.receive()
    link.close()


def test_an_incomplete_message_loses_the_link() -> None:
    data = sent(lambda link: link.send("done", {"loss": np.ones(1)}, serial=3))
    for length in (0, 1, 27, 28, 40, len(data) - 1):
        ours, theirs = pair()
        ours.sendall(data[:length])
        ours.close()
        link = Link(theirs, 1.0)
        with pytest.raises(LinkLost, match="closed in the middle of a message" if length else "^closed$"):
            link.receive()
        link.close()


def test_silence_loses_the_link_only_within_a_message() -> None:
    data = sent(lambda link: link.send("done", serial=3))
    ours, theirs = pair()
    link = Link(theirs, 0.2)
    with later(0.7, lambda: ours.sendall(data + data[:-1])):
        assert link.receive().kind == "done"
        with pytest.raises(LinkLost, match=r"fell silent for 0.2 s in the middle"):
            link.receive()
    ours.close()
    link.close()


def test_an_end_that_reads_nothing_loses_the_link(ends: Ends) -> None:
    ours, _ = ends
    with pytest.raises(LinkLost, match=r"took nothing for 0.3 s"):
        ours.send_chunk("state", [memoryview(bytes(1 << 24))])


def test_closing_ends_a_waiting_receive(ends: Ends) -> None:
    ours, theirs = ends
    with later(0.1, theirs.close), pytest.raises(LinkLost):
        theirs.receive()
    with pytest.raises(LinkLost):
        ours.receive()


def frame(text: bytes, length: int = 0) -> bytes:
    """Returns a frame with right checksums, any JSON, and `length` as the length of its payload."""
    body = struct.pack("!IQQ", len(text), length, 0)
    return b"pod1" + zlib.crc32(body + text).to_bytes(4) + body + text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (sent(lambda link: link.send("hello", life=1, secret="another")), "does not know the secret"),
        (sent(lambda link: link.send("hello", life=1)), "does not know the secret"),
        (sent(lambda link: link.send("hello", {"loss": np.ones(1)}, life=1, secret="the")), "no message"),
        (frame(b"[]"), "no message"),
        (frame(b"7"), "no message"),
        (frame(b'{"kind": "hello", "arrays": 5}'), "no message"),
        (frame(b'{"kind": "hello", "arrays": [["a", "O", [0]]]}'), "no message"),
        (frame(b'{"kind": "hello", "arrays": null}'), "no message"),
        (frame(b'{"kind": "hello", "arrays": [], "secret": "\\ud800"}'), "does not know the secret"),
        (frame(b"[" * 100_000), "no message"),
        (frame(b"{}", 1 << 62), "no message"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "no message"),
        (b"", "fell silent"),
    ],
    ids=[
        "secret",
        "none",
        "arrays",
        "list",
        "number",
        "arrays 5",
        "objects",
        "chunk",
        "surrogate",
        "deep",
        "long",
        "http",
        "silent",
    ],
)
def test_a_hello_without_the_secret_loses_its_link(ends: Ends, data: bytes, why: str) -> None:
    ours, theirs = ends
    ours._socket.sendall(data)
    with pytest.raises(LinkLost, match=why):
        theirs.receive_hello("the")


def test_a_hello_with_the_secret_is_accepted(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("hello", life=1, secret="the")
    assert theirs.receive_hello("the").fields["life"] == 1


def test_a_slow_hello_has_one_deadline(ends: Ends) -> None:
    ours, theirs = ends
    hello = sent(lambda link: link.send("hello", life=1, secret="the"))

    def send_slowly() -> None:
        with contextlib.suppress(OSError):
            for byte in hello:
                ours._socket.sendall(bytes([byte]))
                time.sleep(0.05)

    with later(0, send_slowly):
        start = time.monotonic()
        with pytest.raises(LinkLost, match="fell silent"):
            theirs.receive_hello("the")
        taken = time.monotonic() - start
        theirs.close()
    assert taken < 0.05 * len(hello)  # patience is 0.3 s, and no byte was later than 0.05


def test_a_long_hello_is_refused_by_its_head(ends: Ends) -> None:
    ours, theirs = ends
    ours._socket.sendall(frame(bytes(5000))[:28])
    with pytest.raises(LinkLost, match="no message"):
        theirs.receive_hello("the")


def test_a_link_may_be_silent_after_its_hello(ends: Ends) -> None:
    ours, theirs = ends
    ours.send("hello", life=1, secret="the")
    theirs.receive_hello("the")
    with later(0.5, lambda: ours.send("ready")):
        assert theirs.receive().kind == "ready"


@given(st.binary(max_size=100), st.integers(0, 100))
def test_the_checksum_is_the_sum_of_words(data: bytes, cut: int) -> None:
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]
    assert checksum([memoryview(data)]) == sum(words) % 2**64
    cut = min(cut, len(data)) // 8 * 8
    assert checksum([memoryview(data)[:cut], memoryview(data)[cut:]]) == sum(words) % 2**64
