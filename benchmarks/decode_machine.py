"""Measures what this machine can read and multiply, and how near Palmetto's step of decoding comes (decode_cpu.py)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from decode_model import Made
from decode_runners import Runner

from palmetto.model.weights import count
from palmetto.recipe.model import Model

CORES = len(os.sched_getaffinity(0))
CONTEXT = 192
"""The tokens that a sequence has on average, of 128 to 256."""
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


class Machine(NamedTuple):
    """Holds what all cores do together in a second."""

    bytes: float
    """The bytes that they read from memory."""
    flops: float
    """The products and sums of float32 matrices."""


def measure() -> Machine:
    """Returns what this machine does, in a process whose NumPy chooses its kernels by the processor alone."""
    chosen = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    done = subprocess.run([sys.executable, __file__], env=chosen, capture_output=True, text=True, check=True)
    return Machine(*json.loads(done.stdout))


def _measure() -> Machine:
    """Returns what this process can do, the best of five: it reads large arrays, and multiplies matrices."""
    arrays = [np.ones(1 << 26, np.float32) for _ in range(CORES)]
    a = np.ones((2048, 2048), np.float32)
    with ThreadPoolExecutor(CORES) as pool:
        reading = min(
            _seconds(lambda: list(pool.map(lambda array: array.view(np.int64).max(), arrays))) for _ in range(5)
        )
    multiplying = min(_seconds(lambda: a @ a) for _ in range(5))
    return Machine(sum(array.nbytes for array in arrays) / reading, 2 * 2048**3 / multiplying)


def report(made: Made, ours: Runner, machine: Machine) -> None:
    """Prints where a step's time goes, and what prefixes and guesses save."""
    model, weights = made.run.recipe.model, ours.weights
    parameters = count(model, made.vocabulary)
    for batch in (1, 8, 64):
        found = ours.ask(overhead=batch, rows=64)
        seconds, programs = found["step"], found["programs"]
        moved = parameters * BYTES[weights] + batch * cache_bytes(model)
        print(
            f"  {made.size} {weights:8} batch {batch:2}: outside the programs {found['outside']:.1%} of a step; they "
            f"read {moved / programs / machine.bytes:.2f} of the bytes and multiply "
            f"{2 * parameters * batch / programs / machine.flops:.2f} of the numbers that the machine can "
            f"({seconds * 1e3:.2f} ms)",
            flush=True,
        )
    gains = ours.ask(gains=1)
    print(
        f"  {made.size} {weights:8} a cached prefix of 384 of 400 tokens: {gains['prefix']:.1f} times as fast; guessed "
        f"tokens: {gains['guesses']:.2f} times, with {gains['accepted']:.0%} of the guesses right",
        flush=True,
    )


def cache_bytes(model: Model) -> int:
    """Returns the bytes of keys and values that a token reads."""
    return 2 * model.layers * model.key_value_heads * model.query_size * CONTEXT * 4


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    print(json.dumps(_measure()))
