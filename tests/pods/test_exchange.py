"""Arrays arrive from other pods early, late or twice."""

from typing import Any

import jax
import numpy as np
import pytest

from palmetto.pods import parcels
from palmetto.pods.exchange import Exchange
from palmetto.pods.parcels import Parcel

SHAPES = [jax.ShapeDtypeStruct((20,), np.float32), jax.ShapeDtypeStruct((), np.float32)]


@pytest.fixture
def exchange(monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.setattr(parcels, "CHUNK", 32)
    made = Exchange(SHAPES)
    made.expect(SHAPES)
    made.begin(1)
    return made


def some(value: float) -> list[np.ndarray]:
    return [np.full(20, value, np.float32), np.asarray(np.float32(value))]


def arrive(
    exchange: Exchange, arrays: list[np.ndarray], kind: str = "part", until: int = 3, **fields: Any
) -> list[bool]:
    """Delivers chunks up to `until`; returns of each whether it completed something."""
    news, parcel = [], Parcel(arrays)
    for chunk in range(until):
        at = {"chunk": chunk, **fields}
        for there, here in zip(exchange.place(kind, at) or (), parcel.pieces(chunk), strict=False):
            there[:] = here
        news.append(exchange.note(kind, at))
    return news


def test_a_part_is_complete_with_its_last_chunk(exchange: Exchange) -> None:
    assert exchange.part(1) is None
    assert arrive(exchange, some(1), serial=1, part=1) == [False, False, True]
    there = exchange.part(1)
    assert there is not None
    assert [array.tolist() for array in there] == [[1] * 20, 1]
    assert exchange.part(0) is None


def test_chunks_that_another_pod_repeats_are_skipped(exchange: Exchange) -> None:
    arrive(exchange, some(1), serial=1, part=1, until=2)  # then its pod was lost
    assert arrive(exchange, some(1), serial=1, part=1) == [False, False, True]
    assert exchange.place("part", {"serial": 1, "part": 1, "chunk": 0}) is None
    assert arrive(exchange, some(1), serial=1, part=1) == [False, False, False]


def test_a_part_of_the_next_step_begins_it(exchange: Exchange) -> None:
    arrive(exchange, some(1), serial=1, part=1)
    assert arrive(exchange, some(2), serial=2, part=0) == [False, False, True]
    exchange.begin(2)
    assert exchange.part(1) is None, "this part was of the step before"
    assert exchange.part(0) is not None
    assert arrive(exchange, some(9), serial=1, part=1) == [False, False, False]
    assert exchange.part(1) is None


def test_every_state_arrives_in_new_memory(exchange: Exchange) -> None:
    assert arrive(exchange, some(1), "state", request=1)[-1]
    first = exchange.take_state(1)
    assert first is not None
    arrive(exchange, some(7), "state", until=2, request=2)  # then the donor was lost
    assert arrive(exchange, some(2), "state", request=3) == [False, False, True]
    second = exchange.take_state(3)
    assert second is not None
    assert [array.tolist() for array in first] == [[1] * 20, 1]
    assert [array.tolist() for array in second] == [[2] * 20, 2]


def test_an_earlier_state_does_not_answer_a_later_request(exchange: Exchange) -> None:
    assert arrive(exchange, some(1), "state", request=1)[-1]  # then its donor was lost
    arrive(exchange, some(2), "state", until=2, request=2)
    assert exchange.take_state(1) is None
    at = {"chunk": 2, "request": 1}
    assert exchange.place("state", at) is None
    assert not exchange.note("state", at)
    at["request"] = 2
    for there, here in zip(exchange.place("state", at) or (), Parcel(some(2)).pieces(2), strict=True):
        there[:] = here
    assert exchange.note("state", at)
    taken = exchange.take_state(2)
    assert taken is not None
    assert [array.tolist() for array in taken] == [[2] * 20, 2]
