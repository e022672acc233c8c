"""Two pods, each pinned to a core, against one pod on one core, in the 15M recipe's shape; the paper has 1.95.

    .venv/bin/python benchmarks/pods.py [--rounds 5] [--steps 2] [KEY.PATH=VALUE]...

L 6, D 384, H 6, Q 64, V 8192, T 512, batch 16, float32, PaLM's Adafactor with clipping; XLA's pool has one thread. Both
fleets are up all the time and take turns within every round, so that the machine's moods hit both alike. The ratio by
processor time, of the busier of two pods, is what is left of it where other programs take the cores away; it holds all
that a pod does but waiting. The last line is the ratio of tokens/s, the median over the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from palmetto import environment, recipes
from palmetto.recipe import Recipe

OVERRIDES = ("training.batch_size=16", "training.micro_batch=2", "training.steps=1000", "training.threads=1")


class Fleet:
    """Pods that take steps when told to."""

    def __init__(self, recipe: Recipe, count: int, folder: Path) -> None:
        """Starts them, pinned to the first cores, and takes their first step."""
        import numpy as np

        from palmetto.pods.client import Pods
        from palmetto.pods.programs import on_host
        from palmetto.training.loss import Batch
        from palmetto.training.state import initial_state

        self.count, self.tokens = count, recipe.training.batch_stages[0][1] * recipe.tokens.sequence_length
        self.rates, self.processor = list[float](), list[float]()
        self.shares: dict[str, list[float]] = {"gradients": [], "exchange": [], "update": []}
        micro_batch, sequences = recipe.training.micro_batch, recipe.training.batch_stages[0][1]
        shape = (sequences // micro_batch, micro_batch, recipe.tokens.sequence_length + 1)
        random = np.random.default_rng(0)
        self._batch = Batch(random.integers(0, recipe.tokens.vocabulary_size, shape, dtype=np.int32))  # type: ignore[arg-type]
        self._rate, self._step = np.float32(1e-3), 0
        cores = [[core] for core in sorted(os.sched_getaffinity(0))[:count]]
        self.pods = Pods(recipe, count, folder, lambda event, text, **fields: print(text, flush=True), cores=cores)
        self.pods.put_state(on_host(initial_state(recipe)), 0, self._batch)
        self._last = self._take()

    def _take(self) -> Any:
        self._step += 1
        return self.pods.step(self._step, self._batch, None, self._rate).reports

    def take(self, steps: int) -> None:
        """Takes steps and notes tokens/s, processor time a step of the busiest pod, and where time went."""
        start, first, busy = time.perf_counter(), self._last, dict.fromkeys(self.shares, 0.0)
        for _ in range(steps):
            self._last = self._take()
            for part in busy:
                busy[part] += statistics.mean(report["seconds"][part] for report in self._last.values())
        seconds = time.perf_counter() - start
        self.rates.append(steps * self.tokens / seconds)
        used = [self._last[pod]["seconds"]["processor"] - first[pod]["seconds"]["processor"] for pod in first]
        self.processor.append(max(used) / steps)
        for part, spent in busy.items():
            self.shares[part].append(spent / seconds)

    @property
    def sent(self) -> float:
        """Bytes that a pod sends a step."""
        return statistics.mean(report["sent"] for report in self._last.values()) / self._step


def median_ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Prints a ratio's rounds and returns their median."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{name}: rounds {' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {statistics.median(ratios):.2f}")
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each fleet in a round")
    arguments = parser.parse_args()
    recipe = recipes.load("palm-15m", [*OVERRIDES, *arguments.overrides])
    environment.prepare(recipe.training.threads)
    with tempfile.TemporaryDirectory() as folder:
        one, two = (Fleet(recipe, count, Path(folder)) for count in (1, 2))
        try:
            print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            for _ in range(arguments.rounds):
                for fleet in (two, one):
                    fleet.take(arguments.steps)
            print(f"load {os.getloadavg()[0]:.1f}")
        finally:
            one.pods.close()
            two.pods.close()
    for fleet in (one, two):
        shares = ", ".join(f"{part} {statistics.median(of):.1%}" for part, of in fleet.shares.items())
        print(f"{fleet.count} pods: {statistics.median(fleet.rates):.0f} tokens/s; of a step's time {shares}")
    print(f"each of two sends {two.sent / 1e6:.1f} MB a step and takes as much; none of it is hidden, as computing and "
          f"sending share a core: {statistics.median(two.shares['exchange']):.1%} of the time, waiting for the other "
          "included")  # fmt: skip
    median_ratio("by processor time", one.processor, two.processor)
    print(f"ratio {median_ratio('by tokens/s', two.rates, one.rates):.2f}")


if __name__ == "__main__":
    main()
