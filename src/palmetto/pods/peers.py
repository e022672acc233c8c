"""A pod's links to the other pods. Each link has a sending and a receiving thread."""

import queue
import threading
from collections.abc import Callable
from typing import Any

from palmetto.pods.listener import Listener
from palmetto.pods.parcels import Parcel
from palmetto.pods.wire import Link, LinkLost, Message, Place, connect, start_thread


class Peers:
    """The links to other pods, each known by the life of the process at its other end."""

    def __init__(
        self,
        life: int,
        secret: str,
        patience: float,
        place: Place,
        deliver: Callable[[Message], None],
        lose: Callable[[int, str], None],
    ) -> None:
        """place: returns the memory for a chunk. deliver: called with each message that arrives. lose: called with the
        life whose link is lost, and the reason."""
        self._life, self._secret, self._patience = life, secret, patience
        self._place, self._deliver, self._lose = place, deliver, lose
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._outboxes: dict[int, queue.SimpleQueue[tuple[str, Parcel, dict[str, Any]]]] = {}
        self.port = Listener(secret, patience, self._welcome).port
        """The port to which other pods connect."""

    @property
    def lives(self) -> list[int]:
        """The lives of the processes that there are links to, sorted."""
        with self._lock:
            return sorted(self._links)

    def connect(self, life: int, port: int) -> None:
        """Connects to another pod and waits until it has accepted. Raises LinkLost if that fails."""
        link = connect(port, self._patience)
        link.send("hello", life=self._life, secret=self._secret)
        link.receive()
        self._keep(life, link)
        start_thread(self._receive, life, link)

    def post(self, life: int, kind: str, parcel: Parcel, **fields: Any) -> None:
        """Queues arrays to be sent in chunks, after all that were queued before."""
        with self._lock:
            if life in self._outboxes:
                self._outboxes[life].put((kind, parcel, fields))

    def drop(self, life: int) -> None:
        """Closes a link without reporting it."""
        with self._lock:
            self._outboxes.pop(life, None)
            link = self._links.pop(life, None)
        if link:
            link.close()

    def traffic(self) -> tuple[int, int]:
        """Returns the bytes sent and received so far over the present links."""
        with self._lock:
            links = self._links.values()
            return sum(link.sent for link in links), sum(link.received for link in links)

    def _welcome(self, link: Link, hello: Message) -> None:
        life = int(hello.fields["life"])
        self._keep(life, link)
        link.send("welcome")
        self._receive(life, link)

    def _keep(self, life: int, link: Link) -> None:
        outbox: queue.SimpleQueue[tuple[str, Parcel, dict[str, Any]]] = queue.SimpleQueue()
        with self._lock:
            self._links[life], self._outboxes[life] = link, outbox
        start_thread(self._send, life, link, outbox)

    def _receive(self, life: int, link: Link) -> None:
        try:
            while True:
                self._deliver(link.receive(self._place))
        except LinkLost as error:
            self._end(life, link, error)

    def _send(self, life: int, link: Link, outbox: "queue.SimpleQueue[tuple[str, Parcel, dict[str, Any]]]") -> None:
        try:
            while True:
                kind, parcel, fields = outbox.get()
                for chunk in range(len(parcel)):
                    link.send_chunk(kind, parcel.pieces(chunk), chunk=chunk, **fields)
                del parcel  # frees its arrays while this thread waits for the next
        except LinkLost as error:
            self._end(life, link, error)

    def _end(self, life: int, link: Link, error: LinkLost) -> None:
        with self._lock:
            is_news = self._links.get(life) is link
        if is_news:
            # Report before closing, so that the client hears the reason before it hears from the other end.
            self._lose(life, str(error))
            self.drop(life)
