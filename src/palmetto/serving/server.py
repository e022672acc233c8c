"""Runs the application: opens its port, says when it can answer, and ends when it is told to."""

import asyncio
import contextlib
import ipaddress
import logging
import math
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

import jax
import uvicorn

from palmetto.decoding.drafting import Drafting
from palmetto.decoding.limits import Limits
from palmetto.decoding.refusal import Refused
from palmetto.errors import UserError
from palmetto.host import signals
from palmetto.recipe.model import Weights
from palmetto.runs.directory import RunDirectory
from palmetto.serving.app import application
from palmetto.serving.connections import LAST
from palmetto.serving.heads import Protocol
from palmetto.serving.metrics import Metrics
from palmetto.serving.models import Adapter, Follow, Served
from palmetto.serving.settings import Settings
from palmetto.serving.state import Server

_YEAR = 365 * 24 * 3600.0
"""The seconds of a longer drain, which would not fit into an integer."""

_LEFT = 5
"""The seconds after the drain until uvicorn cuts the connections that are left: of clients that do not read."""


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; raises UserError if the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise UserError(f"--host {host} --port {port}: {reason}; --port 0 picks a free port") from None
    return opened


def hosts(opened: socket.socket, host: str, allowed: Sequence[str]) -> tuple[str, ...]:
    """Returns the names by which clients may address a socket that was opened for `host`; empty for any.

    On loopback these are its usual names, `host` and the allowed ones; elsewhere any, unless some are allowed. Raises
    UserError for an allowed name that no client can send.
    """
    for name in allowed:
        if not _is_host(name):
            raise UserError(
                f"--allowed-host {name!a}: expected the name or address of a host alone, as in models.example"
            )
    if not allowed and not ipaddress.ip_address(opened.getsockname()[0].partition("%")[0]).is_loopback:
        return ()
    named = [f"[{name}]" if ":" in name and not name.startswith("[") else name for name in (host, *allowed)]
    return ("localhost", "127.0.0.1", "[::1]", *(name.lower().rstrip(".") for name in named))


def _is_host(name: str) -> bool:
    """Returns whether a text is a name or an address as clients send it, without a port."""
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return bool(_NAME.fullmatch(name) or ipaddress.IPv6Address(bare))
    except ValueError:
        return False


def address(opened: socket.socket) -> str:
    """Returns the URL of a socket."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""Matches a name or an IPv4 address; names in other letters are sent as xn--…."""
Adapting = tuple[RunDirectory, str]
"""A run of adapters, and the name of the model that they adapt."""


def load(
    runs: Mapping[str, RunDirectory],
    limits: Limits,
    settings: Settings,
    overrides: Sequence[str] = (),
    drafting: Drafting | None = None,
    adapters: Mapping[str, Adapting] | None = None,
    weights: Weights | None = None,
    follow: Follow | None = None,
) -> Server:
    """Returns the models of runs, with their newest checkpoints, ready to be served; raises UserError if one cannot.

    adapters: further models by name. follow: shows how much of each is compiled.
    """
    metrics, guesses = Metrics(), drafting or Drafting()

    def served(name: str, run: RunDirectory, adapter: Adapter | None = None) -> Served:
        meter = metrics.meter(name)
        return Served(run, limits, meter, settings.template, overrides, guesses, weights, adapter, follow)

    try:
        models = {name: served(name, run) for name, run in runs.items()}
        for name, (run, of) in (adapters or {}).items():
            models[name] = served(name, run, Adapter(name, models[of]))
    except Refused as error:  # whose other limits `serve` checks as options
        raise UserError(f"--longest {limits.longest} --cache {limits.memory >> 20}: {error.reason}") from None
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = f"--rows {limits.rows} --longest {limits.longest} --cache {limits.memory >> 20}"
        raise UserError(f"{sizes}: more memory than there is; expected smaller numbers") from None
    return Server(models, settings, metrics)


def run(server: Server, opened: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until a signal comes. `ready` is called once the server answers.

    The first signal closes the port and lets running requests go on for a while; the second ends them. Threads may
    still be in a step, or compile a newer checkpoint, when this returns.
    """
    drain = min(server.settings.drain, _YEAR)
    config = uvicorn.Config(
        application(server),
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(drain) + _LEFT,
    )
    _log_to_standard_error()
    try:
        asyncio.run(_Uvicorn(config, ready, drain).serve([opened]))
    finally:
        with signals.handled_by(signal.SIG_IGN):  # since it ends already
            for served in server.models.values():
                served.current.worker.close()


def _log_to_standard_error() -> None:
    """Has this package write a line of JSON for each request, and uvicorn only what goes wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("palmetto.serving")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], drain: float) -> None:
        super().__init__(config)
        self._ready, self._drain = ready, drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Opens the sockets, and says that the server answers."""
        try:
            await super().startup(sockets)
        except OSError as error:  # another server took the port while the models were loaded
            raise UserError(
                f"{' '.join(map(address, sockets or []))}: {error.strerror}; --port 0 picks a free port"
            ) from None
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes the port and waits for running requests; what the drain or a second signal ends gets an answer."""
        late = asyncio.get_running_loop().call_later(self._drain, self._end_requests)
        await super().shutdown(sockets)
        late.cancel()
        if self.force_exit:  # for which uvicorn leaves requests and the application as they are
            if ended := self._end_requests():
                await asyncio.wait(ended, timeout=2 * LAST)
            await self.lifespan.shutdown()

    def _end_requests(self) -> set[asyncio.Task[None]]:
        """Cancels running requests, which then tell their clients; returns their tasks."""
        for task in (tasks := set(self.server_state.tasks)):
            task.cancel()
        return tasks

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles the stopping signals, which uvicorn would send again after its end."""
        with signals.handled_by(self.handle_exit):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the server: at the first signal when its requests are finished, at the second at once."""
        self.force_exit, self.should_exit = self.should_exit, True
