"""llama.cpp continues prompts on request (decode_cpu.py), by the server in xllamacpp, a slot for each prompt.

    decode_llamacpp.py FOLDER

xllamacpp is built for AVX2, whatever the machine has, so that it shows what a package brings, not what llama.cpp can do
at best. Requests go over loopback; keys and values have the default type, float16.
"""

import functools
import json
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp
from asked import answer

FOLDER = sys.argv[1]
BATCH = 512
"""The most tokens of a step."""


@functools.cache
def opened(slots: int, positions: int, threads: int) -> str:
    """Returns the address of a server with so many slots, each for so many positions."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(Path(FOLDER) / "model.gguf")
    settings.n_ctx, settings.n_parallel = slots * positions, slots
    settings.n_batch = settings.n_ubatch = BATCH
    settings.n_threads_http = slots + 2
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
    settings.warmup = False
    settings.verbosity = -1  # otherwise it tells of every request
    servers.append(xllamacpp.Server(settings))
    address: str = servers[-1].listening_address
    return address


servers: list[Any] = []
"""The servers, which end with the program."""


def continued(question: dict[str, Any]) -> dict[str, Any]:
    prompts, new = question["prompts"], question["new"]
    positions = -(-(len(prompts[0]) + new) // 256) * 256
    address = opened(len(prompts), positions, int(question["threads"]))
    settings = {"n_predict": new, "temperature": 0, "cache_prompt": False, "ignore_eos": True, "return_tokens": True}
    with ThreadPoolExecutor(len(prompts)) as pool:
        start = time.perf_counter()
        results = list(pool.map(lambda prompt: posted(address, {"prompt": prompt, **settings}), prompts))
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": results[0]["tokens"]}


def posted(address: str, body: dict[str, Any]) -> Any:
    """Returns the server's answer to a request."""
    request = urllib.request.Request(
        f"{address}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


if __name__ == "__main__":
    answer(continued)
