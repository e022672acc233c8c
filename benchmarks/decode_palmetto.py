"""Palmetto's engine continues prompts on request, in turns with other programs (decode_cpu.py).

    decode_palmetto.py RUN float32|bfloat16|int8

A question has "prompts", "new" and "rows", the most rows of a step. Other questions ask for an engine's own figures:
{"gains": …} what prefixes and guesses save.
"""

import functools
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast
from unittest import mock

from palmetto.host import environment

sys.path.insert(0, str(Path(__file__).parent / "peers"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)

import numpy as np  # noqa: E402
from asked import answer  # noqa: E402

from palmetto.decoding.drafts import Draft, Lookup  # noqa: E402
from palmetto.decoding.engine import Engine  # noqa: E402
from palmetto.decoding.limits import Limits  # noqa: E402
from palmetto.decoding.request import Request  # noqa: E402
from palmetto.decoding.trained import TrainedModel  # noqa: E402
from palmetto.recipe.model import Weights  # noqa: E402
from palmetto.runs.directory import RunDirectory  # noqa: E402

LONGEST = 1024
trained = TrainedModel(RunDirectory.existing(Path(sys.argv[1])), weights=cast(Weights, sys.argv[2]))


@functools.cache
def opened(rows: int, draft: Draft | None = None) -> Engine:
    """Returns an engine with so many rows in a step, which has compiled all that it needs."""
    engine = trained.engine(Limits(rows=rows, sequences=min(rows, 64), longest=LONGEST), draft)
    for compile_one in engine.programs():
        compile_one()
    return engine


def timed(engine: Engine, prompts: list[list[int]], new: int) -> dict[str, Any]:
    """Continues prompts; returns the seconds, those after the first tokens of all, and the first answer's tokens."""
    numbers = {engine.submit(Request(tuple(prompt), tokens=new)): i for i, prompt in enumerate(prompts)}
    tokens = [list[int]() for _ in prompts]
    start = all_begun = time.perf_counter()
    waiting = set(range(len(prompts)))
    while engine.busy:
        for event in engine.step():
            tokens[numbers[event.request]] += [token.id for token in event.tokens]
            waiting.discard(numbers[event.request])
        if not waiting and all_begun == start:
            all_begun = time.perf_counter()
    end = time.perf_counter()
    return {"seconds": end - start, "after": end - all_begun, "tokens": tokens[0]}


def continued(question: dict[str, Any]) -> dict[str, Any]:
    if "gains" in question:
        return gains(question["gains"])
    if "overhead" in question:
        return overhead(question["rows"], question["overhead"])
    return timed(opened(question["rows"]), question["prompts"], question["new"])


def drawn(seed: int, count: int, length: int) -> list[list[int]]:
    """Returns random prompts."""
    size = trained.recipe.tokens.vocabulary_size
    drawn: list[list[int]] = np.random.default_rng(seed).integers(8, size, (count, length)).tolist()
    return drawn


def gains(seed: int) -> dict[str, Any]:
    """Returns how many times as fast prompts are of whose 400 tokens 384 are cached, and a text that is guessed."""
    engine, [prefix] = opened(64), drawn(seed, 1, 384)
    first, second = ([prefix + own for own in drawn(seed + i, 8, 16)] for i in (1, 2))
    unlike = drawn(seed + 3, 8, 400)
    timed(engine, first, 2)
    prefixes = timed(engine, unlike, 2)["seconds"] / timed(engine, second, 2)["seconds"]
    guessing, plain, seconds = opened(8, Lookup()), opened(8), list[float]()
    text = drawn(seed + 4, 1, 16)
    for engine in (guessing, plain, guessing, plain):
        seconds.append(timed(engine, text, 128)["after"])
    figures = guessing.figures()
    return {
        "prefix": prefixes,
        "guesses": seconds[3] / seconds[2],
        "accepted": figures.accepted / max(1, figures.drafted),
    }


def overhead(rows: int, batch: int) -> dict[str, Any]:
    """Returns how long a step takes for `batch` sequences of 128 tokens and more, and its two programs in it."""
    engine, seconds, programs = opened(rows), list[float](), list[float]()
    compute = engine._model._compute

    def clocked(*arguments: Any) -> Any:
        start = time.perf_counter()
        computed = compute(*arguments)
        programs.append(time.perf_counter() - start)
        return computed

    for prompt in drawn(time.time_ns() % 2**32, batch, 128):
        engine.submit(Request(tuple(prompt), tokens=96))
    while engine.scheduler.waiting or any(sequence.pending > 1 for sequence in engine.scheduler.running):
        engine.step()
    with mock.patch.object(engine._model, "_compute", clocked):
        for _ in range(48):
            start = time.perf_counter()
            engine.step()
            seconds.append(time.perf_counter() - start)
    while engine.busy:
        engine.step()
    whole, own = statistics.median(seconds), statistics.median(programs)
    return {"step": whole, "programs": own, "outside": 1 - own / whole}


if __name__ == "__main__":
    answer(continued)
