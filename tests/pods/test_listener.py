"""Links with the secret are served, and connections without it do not keep them out."""

import contextlib
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palmetto.pods.listener import Listener
from palmetto.pods.wire import Link, LinkLost, Message, connect

STRANGERS = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 5) for _ in range(int(sys.argv[2]))]
print("connected", flush=True)
sys.stdin.read()
"""

Served = queue.Queue[tuple[Link, Message]]


@pytest.fixture
def served() -> Served:
    return queue.Queue()


@pytest.fixture
def listener(served: Served) -> Iterator[Listener]:
    def serve(link: Link, hello: Message) -> None:
        served.put((link, hello))
        link.receive()

    listener = Listener("the", 20.0, serve)
    yield listener
    listener.close()


@contextlib.contextmanager
def strangers(port: int, count: int) -> Iterator[None]:
    """Opens connections from another process, which sends nothing."""
    arguments = [sys.executable, "-c", STRANGERS, str(port), str(count)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"connected\n"
        yield
        process.communicate()


def connect_with_secret(port: int) -> Link:
    link = connect(port, 20.0)
    link.send("hello", life=7, secret="the")
    return link


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_only_this_machine_can_connect_until_the_end(listener: Listener) -> None:
    assert listener._socket.getsockname() == ("127.0.0.1", listener.port)
    listener.close()
    with pytest.raises(LinkLost, match="refused"):
        connect(listener.port, 1.0)


def test_only_a_link_with_the_secret_is_served(listener: Listener, served: Served) -> None:
    wrong = connect(listener.port, 20.0)
    wrong.send("hello", life=6, secret="another")
    link = connect_with_secret(listener.port)
    assert served.get(timeout=20)[1].fields["life"] == 7
    with pytest.raises(LinkLost, match="closed"):
        wrong.receive()
    link.close()
    assert served.empty()


def test_strangers_take_few_descriptors_and_block_nobody(listener: Listener, served: Served) -> None:
    before = descriptors()
    with strangers(listener.port, 200):
        link = connect_with_secret(listener.port)
        assert served.get(timeout=20)[1].fields["life"] == 7
        assert descriptors() - before < 30
        link.close()


def test_a_listener_without_descriptors_tries_again(listener: Listener, served: Served) -> None:
    connections = [socket.socket(), socket.socket()]
    held = []
    with contextlib.suppress(OSError):
        while True:
            held.append(os.dup(connections[0].fileno()))
    try:
        for connection in connections:  # the listener had reserved a descriptor for the first
            connection.connect(("127.0.0.1", listener.port))
            link = Link(connection, 20.0)
        link.send("hello", life=7, secret="the")
        with pytest.raises(queue.Empty):
            served.get(timeout=0.3)
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert served.get(timeout=20)[1].fields["life"] == 7
    link.close()
