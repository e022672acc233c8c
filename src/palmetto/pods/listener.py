"""A listening socket. Any local process may connect; connections without the secret are closed."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from palmetto.pods.wire import Link, LinkLost, Message, start_thread

_MOST_PENDING = 16
"""The most connections that have not sent their hello yet. Each needs a descriptor, and so do checkpoints and logs. One
more closes the oldest, since a pod sends its hello at once."""

_PAUSE = 0.1
"""Seconds until the next attempt if the system has no descriptor for a connection."""


class Listener:
    """Accepts connections from this machine, on a port that the system chooses."""

    def __init__(self, secret: str, patience: float, serve: Callable[[Link, Message], None]) -> None:
        """serve: called in a new thread with each link whose hello has the secret, and with the hello. When it returns
        or raises LinkLost, the link is closed. patience: that of the links, and the time for a hello, in seconds."""
        self._secret, self._patience, self._serve = secret, patience, serve
        self._pending: list[Link] = []
        self._lock, self._closed = threading.Lock(), False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        start_thread(self._accept)

    def close(self) -> None:
        """Accepts no more connections. Existing links stay open."""
        self._closed = True
        with contextlib.suppress(OSError):  # "not connected"; the call still wakes the waiting thread
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed, or out of descriptors for now
                time.sleep(_PAUSE)
                continue
            link = Link(connection, self._patience)
            with self._lock:
                self._pending.append(link)
                oldest = self._pending.pop(0) if len(self._pending) > _MOST_PENDING else None
            if oldest:
                oldest.close()
            start_thread(self._authenticate, link)

    def _authenticate(self, link: Link) -> None:
        with contextlib.suppress(LinkLost), contextlib.closing(link):
            try:
                hello = link.receive_hello(self._secret)
            finally:
                with self._lock:
                    if is_open := link in self._pending:
                        self._pending.remove(link)
            if is_open:
                self._serve(link, hello)
