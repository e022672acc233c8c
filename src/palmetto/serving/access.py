"""Stands before the end points: it gives each request an id, checks its host and key, and writes a line of the log.

The log has a line of JSON for each request, with neither prompts nor answers, and no path that a client made up.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Sequence

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palmetto.serving.connections import ClientGone, tell
from palmetto.serving.errors import ApiError, answer, ending
from palmetto.serving.metrics import Metrics
from palmetto.serving.settings import Settings

log = logging.getLogger("palmetto.serving")

OPEN = frozenset({"/", "/page.css", "/page.js", "/health", "/openapi.json"})
"""The paths that need no key, since what they answer says nothing about what the models have learned."""

_PORT = re.compile(r":[0-9]*\Z")

_GONE = 499
"""The status in the log of a request whose client went away, as in nginx."""


class Access:
    """Passes to the application the requests that have a valid key, and logs all requests."""

    def __init__(self, app: ASGIApp, settings: Settings, routes: Sequence[Route], metrics: Metrics) -> None:
        """Takes the application, the keys and names of hosts that it serves, and the routes that the log may name."""
        self._app, self._routes, self._metrics, self._hosts = app, routes, metrics, frozenset(settings.hosts)
        self._keys = [hashlib.sha256(key.encode()).digest() for key in settings.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, id, status = time.monotonic(), f"req_{secrets.token_hex(12)}", 0
        details: dict[str, str | int] = {}
        scope.setdefault("state", {})["log"] = details

        async def identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", id.encode())]
            await send(message)

        try:
            if not self._addressed(scope):
                refused = ApiError(421, "this server has another name; --allowed-host adds one", code="wrong_host")
                await answer(refused)(scope, receive, identified)
            elif scope["path"] not in OPEN and not self._admitted(scope):
                refused = ApiError(
                    401, "no valid API key: expected the header Authorization: Bearer KEY", code="invalid_api_key"
                )
                await answer(refused)(scope, receive, identified)
            else:
                await self._app(scope, receive, identified)
        except ClientGone:
            status = _GONE
        except asyncio.CancelledError:  # the server ends
            if not status:
                await tell(answer(ending())(scope, receive, identified))
        finally:
            path = next((route.path_format for route in self._routes if route.path_regex.match(scope["path"])), "other")
            self._metrics.answers.labels(path, status).inc()
            seconds = round(time.monotonic() - begun, 4)
            line = {"id": id, "method": scope["method"], "path": path, "status": status, "seconds": seconds}
            log.info(json.dumps({"event": "request", **line, **details}))

    def _addressed(self, scope: Scope) -> bool:
        """Returns whether a request names this server.

        A page of another site can reach a server on loopback by a name of its own that it gives the address of
        loopback; the request then carries that name (DNS rebinding).
        """
        given = dict(scope["headers"]).get(b"host")
        if not self._hosts or given is None:
            return True
        return _PORT.sub("", given.decode("latin-1")).rstrip(".").lower() in self._hosts

    def _admitted(self, scope: Scope) -> bool:
        """Returns whether a request has a valid key. How long this takes does not depend on which, or how nearly."""
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = given.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        matches = [hmac.compare_digest(digest, known) for known in self._keys]
        return not self._keys or (kind.lower() == b"bearer" and any(matches))
