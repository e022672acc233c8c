"""Ten thousand clients, many at once: some slow, some broken, some gone before their answer."""

import asyncio
import gc
import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from palmetto.serving.worker import Worker
from tests.serving.conftest import Post, until
from tests.serving.test_operating import leave

ASKED: list[dict[str, Any]] = [
    {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "seed": seed, "n": n, "logprobs": 2}
    for seed, (prompt, tokens, n) in enumerate([("def ", 20, 1), ("import os", 8, 2), ([5] * 60, 3, 1), ("", 40, 1)])
]
BROKEN = (
    b"\x16\x03\x01\x02",
    b"POST /v1/comp",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{]",
)


class Visits:
    """Sends requests, each of a kind of its own; every whole answer must be that of the request alone."""

    def __init__(self, url: str, complete: Post, client: httpx.Client) -> None:
        """Takes a client for all, since each of its own would keep memory."""
        self._url, self._complete, self._client = url, complete, client
        self._alone = [complete(**asked).json()["choices"] for asked in ASKED]

    def visit(self, number: int) -> None:
        draw = random.Random(number)
        which = draw.randrange(len(ASKED))
        match draw.randrange(8):
            case 0 | 1:
                leave(self._url, {**ASKED[which], "stream": draw.random() < 0.5}, b"")
            case 2 | 3:
                leave(self._url, {**ASKED[which], "stream": True}, b"data: ")
            case 4:
                host, port = self._url.removeprefix("http://").split(":")
                with socket.create_connection((host, int(port))) as connection:
                    connection.sendall(draw.choice(BROKEN))
            case 5:
                assert self._streamed(which, pause=0.002) == [choice["text"] for choice in self._alone[which]]
            case _:
                assert self._complete(**ASKED[which]).json()["choices"] == self._alone[which]

    def _streamed(self, which: int, pause: float) -> list[str]:
        """Returns the texts of a stream that is read slowly."""
        text = [""] * len(self._alone[which])
        with self._client.stream("POST", "/v1/completions", json={**ASKED[which], "stream": True}) as stream:
            for line in stream.iter_lines():
                time.sleep(pause)
                if line.startswith("data: {"):
                    [choice] = json.loads(line.removeprefix("data: "))["choices"]
                    text[choice["index"]] += choice["text"]
        return text


def memory() -> int:
    """Returns the bytes that the process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_nothing_leaks_and_no_bit_changes_under_load(
    url: str, complete: Post, client: httpx.Client, worker: Worker, running: uvicorn.Server
) -> None:
    visits, loop = Visits(url, complete, client), running.servers[0].get_loop()

    def at_rest() -> tuple[int, int]:
        until(lambda: not worker.running and not worker.waiting and not worker._engine.busy)
        until(lambda: len(asyncio.all_tasks(loop)) <= tasks)
        worker._engine.scheduler.check()
        assert worker._engine.figures().blocks_used == 0
        return threading.active_count(), memory()

    tasks = len(asyncio.all_tasks(loop)) + 1  # the connection of `complete` has one while it waits
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(visits.visit, range(2_000)))
        threads, before = at_rest()
        list(pool.map(visits.visit, range(2_000, 10_000)))
        later, after = at_rest()
    assert later <= threads
    assert after - before < 32 << 20, "four kilobytes a request would be a leak"
