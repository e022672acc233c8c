"""Answers clients that may go away at any time. What was begun for a client ends with its connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

LAST = 1.0
"""The seconds in which a client must take what it is told when the server ends."""

Result = TypeVar("Result")


class ClientGone(Exception):
    """Signals that a client has closed its connection, or reads no longer, before it had its answer."""


async def while_there(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Returns the result of `work`, which is cancelled if the client goes away; raises ClientGone then."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def tell(sending: Awaitable[None]) -> None:
    """Sends what a client is told when the server ends; gives up if the client does not take it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LAST):
            await sending


class EventStream(Response):
    """Sends server-sent events as they are made."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], seconds: float, end: Callable[[], None], last: str) -> None:
        """Takes events as they are sent.

        seconds: the longest time that the client may take to read one. end: what is called in the end, also if the
        client has gone before the first event. last: the event that is sent instead of the others if the server ends.
        """
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._seconds, self._end, self._last = events, seconds, end, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events until they end or the client goes away."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await while_there(receive, self._send(send))
            except asyncio.CancelledError:  # the server ends
                await tell(send({"type": "http.response.body", "body": self._last.encode(), "more_body": False}))
        finally:
            self._end()

    async def _send(self, send: Send) -> None:
        try:
            async for event in self._events:
                async with asyncio.timeout(self._seconds):
                    await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        except TimeoutError:
            raise ClientGone from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})
