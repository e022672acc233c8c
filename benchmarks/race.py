"""Runs programs that take training steps in turns, so that changes in the machine's speed affect all of them.

Each program has its own process. It prints the seconds of its first step, then reads numbers of steps, one a line, and
prints the seconds that they took.

    python benchmarks/race.py RECIPE [KEY.PATH=VALUE]...

runs Palmetto as such a program. Others are in peers/.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any


class Runner:
    """A program that takes steps on request."""

    def __init__(self, name: str, command: Sequence[str], tokens: int) -> None:
        """Starts the program and waits for its first step. tokens: the number of tokens in a step."""
        self.name, self.rates, self._tokens = name, list[float](), tokens
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first_step = float(self._answer())

    @classmethod
    def palmetto(cls, name: str, recipe: str, overrides: Sequence[str], tokens: int) -> "Runner":
        """Starts Palmetto on random tokens."""
        return cls(name, [sys.executable, __file__, recipe, *overrides], tokens)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self._process.wait()}")
        return line

    def take(self, steps: int) -> None:
        """Takes steps and records the tokens/s."""
        assert self._process.stdin is not None
        print(steps, file=self._process.stdin, flush=True)
        self.rates.append(steps * self._tokens / float(self._answer()))

    def stop(self) -> None:
        """Ends the program."""
        self._process.communicate()


def compare(ours: Runner, other: Runner) -> float:
    """Prints the ratio of tokens/s in each round, ours over the other's, and returns the median."""
    ratios = [mine / theirs for mine, theirs in zip(ours.rates, other.rates, strict=True)]
    print(f"{ours.name} against {other.name}: rounds {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    return statistics.median(ratios)


class Steps:
    """Palmetto's training step of a recipe, on random tokens. JAX must not have been imported."""

    def __init__(self, name: str, overrides: Sequence[str]) -> None:
        from palmetto.host import environment
        from palmetto.recipe import loading

        recipe = loading.load(name, overrides)
        environment.prepare(recipe.training.threads, devices=recipe.mesh.devices)
        import jax
        import numpy as np

        from palmetto.model import tuning
        from palmetto.parallel.sharding import Sharding
        from palmetto.training.step.loss import Batch
        from palmetto.training.step.state import initial_state
        from palmetto.training.step.update import make_step

        self._sharding = Sharding(recipe)
        here = tuning.for_platform(jax.default_backend(), recipe.mesh)
        self._step: Any = make_step(recipe, here, self._sharding)
        self._state = initial_state(recipe, self._sharding)
        micro_batch, sequences = recipe.training.micro_batch, recipe.training.batch_ramp[0][1]
        shape = (sequences // micro_batch, micro_batch, recipe.tokens.sequence_length + 1)
        random = np.random.default_rng(0)
        batches = [random.integers(0, recipe.tokens.vocabulary_size, shape, dtype=np.int32) for _ in range(3)]
        self._batches = [(Batch(jax.numpy.asarray(batch)), jax.numpy.float32(1e-3)) for batch in batches]

    def take(self, steps: int) -> float:
        """Takes steps and returns their seconds."""
        import jax

        start = time.perf_counter()
        for number in range(steps):
            batch = self._sharding.everywhere(self._batches[number % 3])
            self._state, metrics = self._step(self._state, *batch)
            jax.device_get(metrics)
        return time.perf_counter() - start

    def program(self) -> str:
        """Returns the text of the compiled step."""
        text: str = self._step.lower(self._state, *self._sharding.everywhere(self._batches[0])).compile().as_text()
        return text


def worker(name: str, overrides: Sequence[str]) -> None:
    """Runs Palmetto as a program of the race."""
    steps = Steps(name, overrides)
    print(steps.take(1), flush=True)
    for line in sys.stdin:
        print(steps.take(int(line)), flush=True)


if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2:])
