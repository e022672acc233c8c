"""Tests how requests wait for the engine, what is measured of them, and what clients are told when there is no room."""

import asyncio
import re
import threading
import time
import unittest.mock
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from palmetto.decoding.request import Event, Finish, Request, Token
from palmetto.serving.aside import in_thread
from palmetto.serving.errors import busy
from palmetto.serving.metrics import Metrics
from palmetto.serving.worker import Call, Failed, News, Worker
from tests.serving.conftest import Post


def test_times_are_those_of_generated_tokens(complete: Post, client: httpx.Client) -> None:
    def counts() -> list[float]:
        text = client.get("/metrics").text
        names = ("palmetto_time_to_first_token_seconds_count", "palmetto_time_between_tokens_seconds_count")
        return [float(re.findall(rf'{name}{{model="tiny"}} (\S+)', text)[0]) for name in names]

    before = counts()
    scored = {"prompt": [5] * 20, "echo": True, "logprobs": 0}
    complete(**scored, max_tokens=0)
    assert counts() == before
    complete(**scored, max_tokens=4, n=2, logit_bias={"1": -100})
    assert [after - count for after, count in zip(counts(), before, strict=True)] == [1, 6]


class Pairs:
    """An engine whose steps bring two tokens at a time, as where guesses are right."""

    busy = False

    def submit(self, request: Request) -> int:
        self.busy, self._left = True, request.tokens
        return 0

    def step(self) -> list[Event]:
        self._left -= 2
        self.busy = self._left > 0
        return [Event(0, 0, (Token(5, None),) * 2, None if self.busy else Finish.LENGTH)]


def test_tokens_that_come_together_are_measured_each() -> None:
    metrics, engine = Metrics(), Pairs()
    worker = Worker(engine, metrics.meter("pairs"))  # type: ignore[arg-type]

    async def six() -> None:
        call = await worker.submit([Request((1,), 6)])
        async for news in call.news(time.monotonic() + 20):
            if any(event.finish for _, event in news):
                return

    asyncio.run(six())
    worker.close()
    text = metrics.text().decode()
    assert 'palmetto_time_to_first_token_seconds_count{model="pairs"} 1.0' in text
    assert 'palmetto_time_between_tokens_seconds_count{model="pairs"} 4.0' in text


def test_a_slow_reader_gets_what_came_in_time(worker: Worker) -> None:
    told = [News(0, Event(0, 0, (Token(5, None),))), News(0, Event(0, 0, (), Finish.STOP))]

    async def read_late() -> None:
        call = Call([Request((1,))], worker)
        for news in told:
            call.put([news])
        call.put(Failed("broken"))
        await asyncio.sleep(0)
        late = call.news(time.monotonic() - 1)
        assert [await anext(late) for _ in told] == [[news] for news in told]
        with pytest.raises(Failed):
            await anext(late)

    asyncio.run(read_late())


def test_a_prompt_waits_until_its_choices_have_begun(complete: Post, worker: Worker) -> None:
    step, seen = worker._engine.step, list[tuple[int, int, int]]()

    def noted() -> list[Event]:
        seen.append((worker.queue, worker.waiting, worker.running))
        return step()

    with unittest.mock.patch.object(worker._engine, "step", noted):
        complete(prompt=[5, 9, 300], n=12, max_tokens=6, seed=1, logit_bias={"1": -100})
    assert seen[0] == (12, 1, 0)
    assert (4, 1, 0) in seen, "eight run at a time"
    assert seen[-1] == (0, 0, 1)


def test_the_end_of_a_loop_waits_for_no_thread() -> None:
    goes_on, ended = threading.Event(), list[bool]()

    async def begin() -> None:
        work = asyncio.ensure_future(in_thread(lambda: ended.append(goes_on.wait(20))))
        await asyncio.sleep(0)
        assert not work.done()

    asyncio.run(begin())
    assert not ended
    goes_on.set()


@pytest.mark.parametrize(("seconds", "said"), [(0, "1"), (5, "5"), (600, "60")])
def test_clients_obey_when_to_come_again(seconds: int, said: str) -> None:
    assert busy("no room", seconds).headers == {"retry-after": said}


def test_choices_of_all_prompts_count_in_the_queue(limited: Callable[..., TestClient], worker: Worker) -> None:
    client, name = limited(queue=4), "/v1/completions"
    asked: dict[str, Any] = {"model": "tiny", "max_tokens": 1}
    for prompts, n, status in ((2, 2, 200), (1, 4, 200), (3, 2, 400), (1, 5, 400)):
        for parameter in ("n", "best_of"):
            answer = client.post(name, json={**asked, "prompt": [[5]] * prompts, parameter: n})
            assert answer.status_code == status
            if status == 400:
                assert answer.json()["error"]["param"] == parameter
                assert f"{prompts * n} choices of {prompts} prompts: expected at most 4" in answer.text
    worker._waiting |= {(object(), 0, 0), (object(), 0, 1)}  # type: ignore[arg-type]  # as if two others waited
    try:
        found = [client.post(name, json={**asked, "prompt": [5], "n": n}).status_code for n in (2, 3)]
    finally:
        worker._waiting.clear()
    assert found == [200, 429]
