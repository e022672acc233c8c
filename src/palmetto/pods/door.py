"""The socket where a process takes connections: any local process may connect, and those with the secret stay."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from palmetto.pods.wire import Link, LinkLost, Message, start_thread

_MOST_STRANGERS = 16
"""The most connections that have not said who they are. Each takes a descriptor, which checkpoints and logs need as
well; one more closes the oldest, since a pod says who it is at once."""

_PAUSE = 0.1
"""Seconds until the next try, where the system has no descriptor for a connection."""


class Door:
    """Listens on this machine, on a port of the system's choice."""

    def __init__(self, secret: str, patience: float, welcome: Callable[[Link, Message], None]) -> None:
        """welcome: takes each link whose hello has the secret, and the hello, in a thread of its own; returns or raises
        LinkLost when it is done with the link. `patience` is the links', and the time for a whole hello, in seconds."""
        self._secret, self._patience, self._welcome = secret, patience, welcome
        self._strangers: list[Link] = []
        self._lock, self._closed = threading.Lock(), False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        start_thread(self._accept)

    def close(self) -> None:
        """Takes no more connections; those who are in stay."""
        self._closed = True
        with contextlib.suppress(OSError):  # not connected, says the system, and lets go of who waits
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed, or out of descriptors, which others may give back
                time.sleep(_PAUSE)
                continue
            link = Link(connection, self._patience)
            with self._lock:
                self._strangers.append(link)
                oldest = self._strangers.pop(0) if len(self._strangers) > _MOST_STRANGERS else None
            if oldest:
                oldest.close()
            start_thread(self._hear, link)

    def _hear(self, link: Link) -> None:
        with contextlib.suppress(LinkLost), contextlib.closing(link):
            try:
                hello = link.receive_hello(self._secret)
            finally:
                with self._lock:
                    if is_there := link in self._strangers:  # and was not closed for another
                        self._strangers.remove(link)
            if is_there:
                self._welcome(link, hello)
