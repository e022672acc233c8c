"""Many clients at once, some slow, some gone before their answer."""

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from palmetto.serving.worker import Worker
from tests.serving.conftest import Post, until
from tests.serving.test_operating import leave

ASKED: list[dict[str, Any]] = [
    {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "seed": seed, "n": n}
    for seed, (prompt, tokens, n) in enumerate([("def ", 20, 1), ("import os", 8, 2), ([5] * 60, 3, 1), ("", 40, 1)])
]


@pytest.mark.slow
def test_nothing_leaks_and_no_bit_changes_under_load(url: str, complete: Post, worker: Worker) -> None:
    alone = [complete(**asked).json()["choices"] for asked in ASKED]
    threads = threading.active_count()

    def visit(number: int) -> None:
        draw = random.Random(number)
        which = draw.randrange(len(ASKED))
        match draw.randrange(4):
            case 0:
                leave(url, {**ASKED[which], "stream": draw.random() < 0.5}, b"")
            case 1:
                leave(url, {**ASKED[which], "stream": True}, b"data: ")
            case 2:
                with httpx.stream("POST", f"{url}/v1/completions", json={**ASKED[which], "stream": True}) as stream:
                    text = [""] * len(alone[which])
                    for line in stream.iter_lines():
                        if line.startswith("data: {"):
                            [choice] = json.loads(line.removeprefix("data: "))["choices"]
                            text[choice["index"]] += choice["text"]
                    assert text == [choice["text"] for choice in alone[which]]
            case _:
                assert complete(**ASKED[which]).json()["choices"] == alone[which]

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(visit, range(600)))
    until(lambda: not worker.running and not worker.waiting)
    until(lambda: not worker._engine.busy)
    assert worker._engine.figures().blocks_used == 0
    assert threading.active_count() <= threads + 1
