"""Drives an engine in a thread of its own, and hands what it answers to the server's event loop."""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from palmetto.decoding.engine import Engine
from palmetto.decoding.request import Event, Request
from palmetto.serving.metrics import Meter

log = logging.getLogger("palmetto.serving")

KEEP_ALIVE = 15.0
"""The seconds of silence after which a client is told that its connection lives."""

_PATIENCE = 1.0
"""The seconds for which a question to the engine waits for the end of a step."""


class Failed(Exception):
    """The engine has failed, and no request of its worker can be answered."""


class News(NamedTuple):
    """Reports an event of a call, and the number of the prompt that it belongs to."""

    prompt: int
    event: Event


class Call:
    """Awaits the events of requests that were submitted together, one for each prompt."""

    def __init__(self, requests: Sequence[Request], worker: "Worker") -> None:
        self.requests = requests
        self.submitted = time.monotonic()
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Queue[list[News] | Exception] = asyncio.Queue()

    def put(self, news: list[News] | Exception) -> None:
        """Hands events over, from any thread; nobody takes them if the event loop has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.put_nowait, news)

    def end(self) -> None:
        """Ends what is unfinished, before the next step."""
        self._worker.cancel(self)

    def end_choice(self, prompt: int, choice: int) -> None:
        """Ends one choice of a prompt, before the next step."""
        self._worker.cancel_choice(self, prompt, choice)

    async def news(self, deadline: float) -> AsyncIterator[list[News]]:
        """Yields events as they come, and an empty list after a silence; ends at `deadline`, a time.monotonic().

        What has come by then is yielded, however late a slow reader asks for it.
        """
        while (left := deadline - time.monotonic()) > 0:
            try:
                yield _checked(await asyncio.wait_for(self._news.get(), min(KEEP_ALIVE, left)))
            except TimeoutError:
                yield []
        for _ in range(self._news.qsize()):
            yield _checked(self._news.get_nowait())


def _checked(news: list[News] | Exception) -> list[News]:
    """Returns events; raises the error that stands for them."""
    if isinstance(news, Exception):
        raise news
    return news


class _Running:
    """Follows a request in the engine."""

    def __init__(self, call: Call, prompt: int) -> None:
        self.call, self.prompt = call, prompt
        request = call.requests[prompt]
        self.unfinished = request.choices
        self.unechoed = len(request.prompt) if request.echo else 0
        """The number of the prompt's tokens that are to be reported before any other."""
        self.last: dict[int, float] = {}
        """The time when each choice brought its last tokens."""


class Worker:
    """Owns an engine. All that touches the engine happens in the worker's thread, between two steps."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        self.failed: BaseException | None = None
        self._engine = engine
        self._meter = meter
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._running: dict[int, _Running] = {}
        self._waiting: set[tuple[Call, int, int]] = set()
        """The choices of prompts that have no token yet."""
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def queue(self) -> int:
        """Returns the number of choices that wait for their first token."""
        return len(self._waiting)

    @property
    def waiting(self) -> int:
        """Returns the number of prompts of which a choice waits for its first token."""
        return len({(call, prompt) for call, prompt, _ in self._waiting.copy()})

    @property
    def running(self) -> int:
        """Returns the number of prompts whose choices have all begun, and not all finished."""
        return max(0, len(self._running) - self.waiting)

    @property
    def silence(self) -> float:
        """Returns the seconds for which there was work and no step ended; 0 if there is no work."""
        return time.monotonic() - self._moved if self._running or self._waiting else 0.0

    async def submit(self, requests: Sequence[Request]) -> Call:
        """Submits requests, all or none; raises UserError if the engine cannot take one, or Failed."""
        call = Call(requests, self)
        if not self.silence:
            self._moved = call.submitted
        self._waiting.update(_choices(call))
        try:
            await asyncio.wrap_future(self._ask(lambda: self._submit(call)))
        except BaseException:  # also if the client goes away meanwhile
            self.cancel(call)
            raise
        return call

    def cancel(self, call: Call) -> None:
        """Ends what is unfinished of a call before the next step."""
        self._ask(lambda: self._cancel(call))

    def cancel_choice(self, call: Call, prompt: int, choice: int) -> None:
        """Ends one choice of a prompt before the next step, which reports it as ended."""
        self._ask(lambda: self._cancel_choice(call, prompt, choice))

    async def figures(self) -> dict[str, float]:
        """Returns the engine's figures between two steps; none if a step takes long, so that nobody waits for it."""
        asked = asyncio.wrap_future(self._ask(self._engine.figures))
        with contextlib.suppress(TimeoutError):
            return {name: float(value) for name, value in (await asyncio.wait_for(asked, _PATIENCE))._asdict().items()}
        return {}

    async def retire(self) -> None:
        """Ends the thread once all that was submitted is finished."""
        while self._running or self._waiting:
            await asyncio.sleep(0.1)
        self._commands.put(None)

    def close(self) -> None:
        """Ends the thread after the step that it takes, and waits for it."""
        self._commands.put(None)
        self._thread.join(_PATIENCE)

    def _ask(self, command: Callable[[], Any]) -> Future[Any]:
        """Has a command run between two steps."""
        future: Future[Any] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(command())
                except BaseException as error:
                    future.set_exception(error)

        self._commands.put(run)
        return future

    def _submit(self, call: Call) -> None:
        if self.failed:
            raise Failed(str(self.failed))
        for prompt, request in enumerate(call.requests):
            self._running[self._engine.submit(request)] = _Running(call, prompt)

    def _cancel(self, call: Call) -> None:
        for number in [number for number, running in self._running.items() if running.call is call]:
            del self._running[number]
            self._engine.cancel(number)
        self._waiting.difference_update(_choices(call))

    def _cancel_choice(self, call: Call, prompt: int, choice: int) -> None:
        for number, running in self._running.items():
            if running.call is call and running.prompt == prompt:
                self._engine.cancel(number, choice)

    def _run(self) -> None:
        while True:
            try:
                command = self._commands.get(block=self.failed is not None or not self._engine.busy)
            except queue.Empty:
                self._step()
                continue
            if command is None:
                return
            command()

    def _step(self) -> None:
        try:
            events = self._engine.step()
            self._moved = time.monotonic()
            self._hand_out(events)
        except BaseException as error:  # a panic of compiled code is no Exception
            self.failed = error
            log.exception("the engine has failed")
            for call in {running.call for running in self._running.values()}:
                call.put(Failed(str(error)))
            self._running.clear()
            self._waiting.clear()

    def _hand_out(self, events: Sequence[Event]) -> None:
        news: dict[Call, list[News]] = {}
        for event in events:
            if running := self._running.get(event.request):
                self._note(running, event)
                news.setdefault(running.call, []).append(News(running.prompt, event))
        for call, several in news.items():
            call.put(several)

    def _note(self, running: _Running, event: Event) -> None:
        """Measures the time that generated tokens took, and forgets a request whose choices have all ended.

        Tokens that come together share the time since the last ones.
        """
        echoed = min(len(event.tokens), running.unechoed)
        running.unechoed -= echoed
        if generated := len(event.tokens) - echoed:
            before = running.last.get(event.choice)
            if before is not None:
                for _ in range(generated):
                    self._meter.between.observe((self._moved - before) / generated)
            elif not running.last:
                self._meter.first.observe(self._moved - running.call.submitted)
            running.last[event.choice] = self._moved
        if generated or event.finish:
            self._waiting.discard((running.call, running.prompt, event.choice))
        if event.finish:
            running.unfinished -= 1
            if not running.unfinished:
                del self._running[event.request]


def _choices(call: Call) -> Iterator[tuple[Call, int, int]]:
    """Yields all choices of a call, each with its prompt."""
    for prompt, request in enumerate(call.requests):
        for choice in range(request.choices):
            yield call, prompt, choice
