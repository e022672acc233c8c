"""What a client may ask for is compiled before the server answers."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import pytest
from starlette.testclient import TestClient

from palmetto.runs.directory import RunDirectory
from palmetto.serving.app import application
from palmetto.serving.server import load
from palmetto.serving.settings import Settings
from tests.serving.conftest import LIMITS

ASKED: tuple[dict[str, Any], ...] = (
    *({"temperature": temperature} for temperature in (None, 0, 0.7)),
    *({"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.1}, {"typical_p": 0.5}, {"top_k": 3, "top_p": 0.9, "min_p": 0.1}),
    *({"repetition_penalty": 1.2}, {"presence_penalty": 1}, {"frequency_penalty": 1}, {"logit_bias": {"5": 3}}),
    *(
        {"logprobs": 0},
        {"logprobs": 1},
        {"logprobs": 20},
        {"logprobs": 2, "logprobs_mode": "processed_logprobs"},
        {"logprobs": 3, "echo": True, "max_tokens": 0},
    ),
    *({"n": 3}, {"n": 2, "best_of": 8}, {"prompt": ["a", "b c", "def f():"] * 9}, {"prompt": [5] * 150}),
    *({"prompt": [7] * 40, "n": 8, "max_tokens": 60, "seed": 1}, {"stop": ["a", "b"]}, {"stream": True}),
    {"response_format": {"type": "json_object"}, "frequency_penalty": 1.5, "top_p": 0.9, "max_tokens": 40},
    {"response_format": {"type": "regex", "regex": "[ab]{3}"}, "logit_bias": {str(id): 1 for id in range(200)}},
)
"""Parameters, among which are all that change how tokens are chosen."""


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Returns what is compiled in the course of a test."""
    names = list[str]()

    def hear(event: str, duration_secs: float, **details: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(details["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield names
    jax.monitoring.unregister_event_duration_listener(hear)


def test_nothing_is_compiled_while_clients_wait(run: RunDirectory, compiled: list[str]) -> None:
    shown = list[tuple[str, int, int]]()

    def follow(part: str, total: int, results: Iterable[object]) -> Iterator[object]:
        for done, result in enumerate(results, 1):
            shown.append((part, done, total))
            yield result

    jax.clear_caches()
    server = load({"tiny": run}, LIMITS, Settings(), follow=follow)
    assert shown == [("compiling tiny", done, len(shown)) for done in range(1, len(shown) + 1)]
    assert len(shown) > 3
    client, worker = TestClient(application(server)), server.models["tiny"].current.worker
    assert {"jit(forward_and_choose)", "jit(choose)", "jit(most_probable)", "jit(copy)"} <= set(compiled)
    compiled.clear()
    for asked in ASKED:
        values = {"model": "tiny", "prompt": "def ", "max_tokens": 4, **asked}
        assert client.post("/v1/completions", json=values).status_code == 200, asked
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 7}
    assert client.post("/v1/chat/completions", json=chat).status_code == 200
    worker.close()
    assert compiled == []


def test_a_listener_hears_what_is_compiled(compiled: list[str]) -> None:
    jax.jit(lambda x: x * 3 + 1, inline=False)(1.5).block_until_ready()
    assert compiled
