"""Serves one generation: submits it, follows it, and writes it as a whole or as a stream of chunks.

Completions and chats differ in how they write a choice; the whole of an answer is made from the same deltas as its
chunks, so that both hold the same.
"""

import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from palmetto.decoding.choices import BROKEN, Delta
from palmetto.decoding.refusal import Refused
from palmetto.serving.connections import EventStream, while_there
from palmetto.serving.errors import ApiError, bad, busy, ending
from palmetto.serving.following import Follower, Prompt
from palmetto.serving.metrics import Metrics
from palmetto.serving.models import Served
from palmetto.serving.parameters import Generation
from palmetto.serving.prompts import Wanted, check_number, requests_of
from palmetto.serving.settings import Settings
from palmetto.serving.worker import Failed

FLOOR = -9999.0
"""The number that stands for the logarithm of 0, and for what is no number; JSON can hold neither."""

_NAMES = {"banned": "banned_tokens", "forced": "forced_tokens"}
"""The parameters that completions and chats have in common, by the engine's names, where these are others."""


class Form(Protocol):
    """Writes choices in the form of an end point."""

    prefix: str
    """The beginning of the ids of its answers."""
    whole: str
    """The name of the object of a whole answer."""
    part: str
    """The name of the object of a chunk."""

    def choice(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a whole choice."""

    def opening(self, index: int) -> dict[str, Any] | None:
        """Returns a choice's first chunk, which comes before any text; None for none."""

    def chunk(self, index: int, delta: Delta) -> dict[str, Any]:
        """Returns a chunk of a choice."""


class Generating:
    """Serves one request for generation."""

    def __init__(
        self, served: Served, settings: Settings, metrics: Metrics, asked: Generation, wanted: Wanted, form: Form
    ) -> None:
        self._served, self._settings, self._metrics = served, settings, metrics
        self._asked, self._wanted, self._form = asked, wanted, form
        self._log: dict[str, Any] = {}
        self._head = {
            "id": f"{form.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": served.current.fingerprint,
        }

    async def respond(self, request: Request, prompts: Sequence[Prompt], stops: Sequence[str]) -> Response:
        """Returns the response; raises ApiError if the request cannot be met, and ClientGone."""
        if self._asked.stream_options and not self._asked.stream:
            raise bad("stream_options", 'expected only beside "stream": true')
        if self._wanted.choices != (self._asked.n or 1) and self._asked.stream:
            raise bad("best_of", "a stream cannot choose the best: expected best_of to be n")
        check_number(self._settings, len(prompts), self._wanted.choices, self._wanted.names["choices"])
        self._log = request.state.log
        follower = await self._submit(list(prompts), stops)
        if self._asked.stream:
            last = _event(ending().body)
            return EventStream(self._events(follower), self._settings.seconds, lambda: self._end(follower), last)
        try:
            return await while_there(request.receive, self._collect(follower))
        finally:
            self._end(follower)

    async def _submit(self, prompts: list[Prompt], stops: Sequence[str]) -> Follower:
        self._check_queue(len(prompts))
        requests = await requests_of(self._served, self._settings, self._asked, prompts, self._wanted, stops)
        self._check_queue(len(prompts))
        current = self._served.current
        worker, self._head["system_fingerprint"] = current.worker, current.fingerprint
        try:
            call = await worker.submit(requests)
        except Refused as error:
            raise bad({**_NAMES, **self._wanted.names}.get(error.field), error.reason) from None
        except Failed as error:
            raise ApiError(500, f"the engine has failed ({error})") from None
        return Follower(call, prompts, self._served.pieces, stops, self._wanted.echo, self._settings.seconds)

    def _check_queue(self, prompts: int) -> None:
        """Raises ApiError if so many prompts would have to wait behind too many others."""
        waiting = self._served.current.worker.queue
        if waiting + self._wanted.choices * prompts > self._settings.queue:
            raise busy(f"{waiting} choices of prompts are waiting already")

    async def _collect(self, follower: Follower) -> Response:
        wholes = [Delta() for _ in follower.choices]
        try:
            async for news in follower.deltas():
                if news:
                    number, delta = news
                    wholes[number].add(delta)
        except Failed as error:
            raise ApiError(500, f"the engine has failed ({error})") from None
        chosen = self._best(follower)
        choices = [self._form.choice(index, wholes[number]) for index, number in enumerate(chosen)]
        return JSONResponse({**self._head, "object": self._form.whole, "choices": choices, "usage": _usage(follower)})

    def _best(self, follower: Follower) -> list[int]:
        """Returns the numbers of the n choices of each prompt that are answered: those most probable a token.

        What is not as its format says comes last.
        """
        each, n = self._wanted.choices, self._asked.n or 1
        chosen = []
        for start in range(0, len(follower.choices), each):
            numbers = list(range(start, start + each))
            if n < each:
                own = {i: follower.choices[i] for i in numbers}
                numbers.sort(key=lambda i: (own[i].finish in BROKEN, -own[i].logprob / max(1, own[i].generated)))
            chosen += numbers[:n]
        return chosen

    async def _events(self, follower: Follower) -> AsyncIterator[str]:
        usage = {"usage": None} if self._asked.counts else {}
        head = {**self._head, "object": self._form.part}
        try:
            for index in range(len(follower.choices)):
                if opening := self._form.opening(index):
                    yield _event({**head, "choices": [opening], **usage})
            async for news in follower.deltas():
                if news is None:
                    yield ": still working\n\n"
                else:
                    yield _event({**head, "choices": [self._form.chunk(*news)], **usage})
            if self._asked.counts:
                yield _event({**head, "choices": [], "usage": _usage(follower)})
            yield "data: [DONE]\n\n"
        except ApiError as error:
            yield _event(error.body)
        except Failed as error:
            yield _event(ApiError(500, f"the engine has failed ({error})").body)

    def _end(self, follower: Follower) -> None:
        follower.end()
        name, prompt, generated = self._served.name, follower.prompt_tokens, follower.generated_tokens
        self._log.update(model=name, prompt_tokens=prompt, generated_tokens=generated)
        self._metrics.prompt_tokens.labels(name).inc(prompt)
        self._metrics.generated_tokens.labels(name).inc(generated)


def number(logprob: float | None) -> float | None:
    """Returns a log-probability that JSON can hold."""
    return None if logprob is None else max(FLOOR, logprob)  # FLOOR if it is NaN


def _event(value: dict[str, Any]) -> str:
    # Only ASCII, since some clients take characters such as U+2028 for the end of a line.
    return f"data: {json.dumps(value, allow_nan=False)}\n\n"


def _usage(follower: Follower) -> dict[str, int]:
    prompt, generated = follower.prompt_tokens, follower.generated_tokens
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}
