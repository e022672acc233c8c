"""Who is let in, and that those who are not take nothing away from those who are."""

import contextlib
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palmetto.pods.door import Door
from palmetto.pods.wire import Link, LinkLost, Message, connect

STRANGERS = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) for _ in range(int(sys.argv[2]))]
print("there", flush=True)
sys.stdin.read()
"""

Guests = queue.Queue[tuple[Link, Message]]


@pytest.fixture
def guests() -> Guests:
    return queue.Queue()


@pytest.fixture
def door(guests: Guests) -> Iterator[Door]:
    def welcome(link: Link, hello: Message) -> None:
        guests.put((link, hello))
        link.receive()

    door = Door("the", 20.0, welcome)
    yield door
    door.close()


@contextlib.contextmanager
def strangers(port: int, count: int) -> Iterator[None]:
    """Connections of another process, which say nothing."""
    arguments = [sys.executable, "-c", STRANGERS, str(port), str(count)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        yield
        process.communicate()


def knock(port: int) -> Link:
    link = connect(port, 20.0)
    link.send("hello", life=7, secret="the")
    return link


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_listens_to_this_machine_alone_until_closed(door: Door) -> None:
    assert door._listener.getsockname() == ("127.0.0.1", door.port)
    door.close()
    with pytest.raises(LinkLost, match="refused"):
        connect(door.port, 1.0)


def test_who_knows_the_secret_gets_in(door: Door, guests: Guests) -> None:
    wrong = connect(door.port, 20.0)
    wrong.send("hello", life=6, secret="another")
    link = knock(door.port)
    assert guests.get(timeout=20)[1].fields["life"] == 7
    with pytest.raises(LinkLost, match="closed"):
        wrong.receive()
    link.close()
    assert guests.empty()


def test_strangers_take_few_descriptors_and_keep_nobody_out(door: Door, guests: Guests) -> None:
    before = descriptors()
    with strangers(door.port, 200):
        link = knock(door.port)
        assert guests.get(timeout=20)[1].fields["life"] == 7
        assert descriptors() - before < 30
        link.close()


def test_a_door_without_descriptors_tries_again(door: Door, guests: Guests) -> None:
    connections = [socket.socket(), socket.socket()]
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(connections[0].fileno()))
    try:
        for connection in connections:  # for the first there was a descriptor before it came
            connection.connect(("127.0.0.1", door.port))
            link = Link(connection, 20.0)
        link.send("hello", life=7, secret="the")
        with pytest.raises(queue.Empty):
            guests.get(timeout=0.3)
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert guests.get(timeout=20)[1].fields["life"] == 7
    link.close()
