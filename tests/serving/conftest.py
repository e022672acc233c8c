"""A small model, served in a thread of this process; one for all tests of this folder."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.testclient import TestClient

from palmetto.decoding.limits import Limits
from palmetto.runs.directory import RunDirectory
from palmetto.serving.app import application
from palmetto.serving.heads import Protocol
from palmetto.serving.server import load
from palmetto.serving.settings import Settings
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.conftest import RecipeMaker
from tests.references.drawn_runs import make_run

LIMITS = Limits(rows=8, sequences=8, longest=160)

Post = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def run(tiny_recipe: RecipeMaker, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_run(tmp_path_factory.mktemp("served") / "tiny", tiny_recipe)


@pytest.fixture(scope="session")
def server(run: RunDirectory) -> Iterator[Server]:
    server = load({"tiny": run}, LIMITS, Settings())
    yield server
    server.models["tiny"].current.worker.close()


@pytest.fixture(scope="session")
def running(server: Server) -> Iterator[uvicorn.Server]:
    """Returns the server as it runs on loopback."""
    opened = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(application(server), log_config=None, http=Protocol))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]})
    thread.start()
    until(lambda: running.started)
    yield running
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def url(running: uvicorn.Server) -> str:
    """Returns the address of the server on loopback."""
    return f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def complete(client: httpx.Client) -> Post:
    """Posts to /v1/completions for the model `tiny`."""
    headers = {"content-type": "application/json"}
    return lambda **parameters: client.post(
        "/v1/completions", content=json.dumps({"model": "tiny", **parameters}), headers=headers
    )


@pytest.fixture
def limited(server: Server) -> Callable[..., TestClient]:
    """Makes clients of the same model behind other limits."""

    def make(**settings: Any) -> TestClient:
        other = server._replace(settings=replace(server.settings, **settings))
        return TestClient(application(other), raise_server_exceptions=False)

    return make


@pytest.fixture
def worker(server: Server) -> Worker:
    """Returns the worker, which has nothing to do."""
    worker = server.models["tiny"].current.worker
    until(lambda: not worker.running and not worker.waiting)
    return worker


@pytest.fixture
def slow(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Returns the worker, each of whose steps takes a twentieth of a second."""
    step = worker._engine.step

    def slowly() -> Any:
        time.sleep(0.05)
        return step()

    monkeypatch.setattr(worker._engine, "step", slowly)
    return worker


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition does not come true"
        time.sleep(0.005)
