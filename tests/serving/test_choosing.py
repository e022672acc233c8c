"""Tests which tokens may come, which tokens come first, and which requests do."""

from typing import Any

import pytest

from palmetto.decoding.request import Request
from palmetto.serving.state import Server
from palmetto.serving.worker import Worker
from tests.serving.conftest import Post


def tokens(complete: Post, server: Server, **asked: Any) -> list[int]:
    """Returns the ids of an answer."""
    answer = complete(prompt="def ", temperature=0, max_tokens=6, logprobs=0, **asked).json()
    names = server.models["tiny"].pieces.names
    return [names.index(name) for name in answer["choices"][0]["logprobs"]["tokens"]]


def test_forced_tokens_come_first_and_banned_ones_never(complete: Post, server: Server) -> None:
    free = tokens(complete, server)
    forced = [300, 7, 300]
    assert tokens(complete, server, forced_tokens=forced)[:3] == forced
    banned = [*free, *range(100, 200)]
    assert not set(banned) & set(tokens(complete, server, banned_tokens=banned))


def test_a_higher_number_of_priority_waits(complete: Post, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted, submit = list[Request](), worker._engine.submit

    def noted(request: Request) -> int:
        submitted.append(request)
        return submit(request)

    monkeypatch.setattr(worker._engine, "submit", noted)
    for asked in ({}, {"priority": 3}, {"priority": None}):
        assert complete(prompt="a", max_tokens=1, **asked).status_code == 200
    assert [request.priority for request in submitted] == [0, -3, 0]
