"""Ends connections that bring the head of a request too slowly, or one that never ends; uvicorn would keep them."""

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SECONDS = 30.0
"""The longest time that the head of a request may take to arrive."""

BYTES = 64 << 10
"""About the most bytes of a head."""


class Protocol(HttpToolsProtocol):
    """Serves one connection."""

    _timer: asyncio.TimerHandle | None = None
    """The timer that ends the connection if no head is complete by then."""
    _within = False
    """True if a head has begun and not ended."""
    _bytes = 0
    """The bytes that have come since it began."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins to wait for the first head."""
        super().connection_made(cast(asyncio.Transport, transport))
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Takes what has come."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:  # otherwise an answer is being made
            self._await_head()
        self._bytes += len(data)
        if self._within and self._bytes > BYTES:
            self.transport.close()

    def on_message_begin(self) -> None:
        """Notes that a head begins."""
        super().on_message_begin()
        self._within, self._bytes = True, 0

    def on_headers_complete(self) -> None:
        """Notes that a head has ended."""
        self._within = False
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._forget()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(SECONDS, self.transport.close)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
