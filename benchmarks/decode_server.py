"""`palmetto serve` with many clients against the engine alone (decode_cpu.py)."""

import asyncio
import json
import signal
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from decode_model import Made
from decode_runners import Runner

CLIENTS, PROMPT, NEW = 64, 128, 128


class Streamed(NamedTuple):
    """Holds what a client has seen of an answer, in seconds since it asked."""

    first: float
    end: float
    tokens: int


def report(made: Made) -> None:
    """Prints the rate of a server with 64 clients over that of the engine, and the times to the first token."""
    command = [sys.executable, "-m", "palmetto", "serve", str(made.run.path), "--port", "0", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    engine = Runner.palmetto(made, "float32")
    assert server.stdout is not None
    where = json.loads(server.stdout.readline())
    rates, firsts, alone = list[float](), list[float](), list[float]()
    try:
        for seed in range(3):
            prompts = np.random.default_rng(seed).integers(8, made.vocabulary, (CLIENTS, PROMPT)).tolist()
            seconds = engine.take(prompts, NEW if seed else 4, rows=64)["seconds"]
            answers = asyncio.run(_all(where["url"], where["model"], prompts, NEW if seed else 4))
            if seed:  # the first compiles
                alone.append(CLIENTS * NEW / seconds)
                rates.append(sum(each.tokens for each in answers) / max(each.end for each in answers))
                firsts += [each.first for each in answers]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate()
        engine.stop()
    ratio = statistics.median(a / b for a, b in zip(rates, alone, strict=True))
    first = np.percentile(firsts, (50, 99))
    print(
        f"  {made.size} server with {CLIENTS} clients: {ratio:.2f} of the engine's rate; first token after "
        f"{first[0] / (CLIENTS * NEW / alone[-1]):.2f} of the engine's time for all (median), {first[0]:.2f} s, and "
        f"{first[1]:.2f} s (99th percentile)",
        flush=True,
    )


async def _all(url: str, model: str, prompts: list[list[int]], new: int) -> list[Streamed]:
    return await asyncio.gather(*(_streamed(url, model, prompt, new) for prompt in prompts))


async def _streamed(url: str, model: str, prompt: list[int], new: int) -> Streamed:
    """Returns what a client sees that asks for a stream over a connection of its own."""
    address, start = urlsplit(url), time.perf_counter()
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1 << 20)
    asked: dict[str, Any] = {"model": model, "prompt": prompt, "max_tokens": new, "temperature": 0, "stream": True}
    body = json.dumps(asked | {"stream_options": {"include_usage": True}}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    first, tokens = 0.0, 0
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        first = first or time.perf_counter() - start
        tokens = chunk["usage"]["completion_tokens"] if chunk.get("usage") else tokens
    writer.close()
    return Streamed(first, time.perf_counter() - start, tokens)
