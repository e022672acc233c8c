"""Compares two pods, each pinned to a core, with one pod on one core; the paper reports a ratio of 1.95.

    .venv/bin/python benchmarks/pods.py [--rounds 5] [KEY.PATH=VALUE]...

The shape is that of the 15M recipe: L 6, D 384, H 6, Q 64, V 8192, T 512, batch 64 in leaves of one, float32, PaLM's
Adafactor with clipping. XLA's pool has one thread. Both fleets stay up and take steps in turns. A round counts if other
programs used less than 3 % of the machine in that time, which only Linux reports. The ratio by processor time is that
of the busier of two pods, and contains everything except waiting. The last line is the ratio of tokens/s, the median
over the rounds that count.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.host import environment
from palmetto.recipe import Recipe, loading

_QUIET = 0.03
OVERRIDES = ("training.batch_size=64", "training.micro_batch=1", "training.steps=1000", "training.threads=1")


class Round(NamedTuple):
    """A step of a fleet."""

    rate: float
    """Tokens/s."""
    processor: float
    """The processor seconds of the busiest pod."""
    shares: dict[str, float]
    """The shares of gradients, exchange and update in the time of the step."""
    others: float
    """The share of the machine's time that other programs used."""


class Fleet:
    """A group of pods that takes steps on request."""

    def __init__(self, recipe: Recipe, count: int, folder: Path) -> None:
        """Starts the pods, pinned to the first cores, and takes their first step."""
        import numpy as np

        from palmetto.pods.client import Pods
        from palmetto.pods.programs import on_host
        from palmetto.training.step.loss import Batch
        from palmetto.training.step.state import initial_state

        self.count, self.tokens = count, recipe.training.batch_ramp[0][1] * recipe.tokens.sequence_length
        micro_batch, sequences = recipe.training.micro_batch, recipe.training.batch_ramp[0][1]
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

    def take(self) -> "Round":
        """Takes a step and measures it."""
        first, busy = self._last, _busy() - self._processor()
        start = time.perf_counter()
        self._last = self._take()
        seconds = time.perf_counter() - start
        others = (_busy() - self._processor() - busy) / seconds / (os.cpu_count() or 1)
        used = [self._last[pod]["seconds"]["processor"] - first[pod]["seconds"]["processor"] for pod in first]
        shares = {
            part: statistics.mean(report["seconds"][part] for report in self._last.values()) / seconds
            for part in ("gradients", "exchange", "update")
        }
        return Round(self.tokens / seconds, max(used), shares, others)

    def _processor(self) -> float:
        """Returns the processor seconds of the pods and of this process so far."""
        return time.process_time() + sum(report["seconds"]["processor"] for report in self._last.values())

    @property
    def sent(self) -> float:
        """The bytes that a pod sends in a step."""
        return statistics.mean(report["sent"] for report in self._last.values()) / self._step


def _busy() -> float:
    """Returns the seconds that the machine's processors have been busy so far."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def median_ratio(name: str, ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Prints a ratio's rounds and returns their median."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(f"{name}: rounds {' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {statistics.median(ratios):.2f}")
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds that count")
    parser.add_argument("--at-most", type=int, default=50, help="number of rounds in all")
    arguments = parser.parse_args()
    recipe = loading.load("palm-15m", [*OVERRIDES, *arguments.overrides])
    environment.prepare(recipe.training.threads)
    rounds: list[tuple[Round, Round]] = []
    with tempfile.TemporaryDirectory() as folder:
        one, two = (Fleet(recipe, count, Path(folder)) for count in (1, 2))
        try:
            for number in range(1, arguments.at_most + 1):
                taken = two.take(), one.take()
                others = max(each.others for each in taken)
                print(f"round {number}: other programs used {others:.1%}", flush=True)
                if others < _QUIET:
                    rounds.append(taken)
                if len(rounds) == arguments.rounds:
                    break
        finally:
            one.pods.close()
            two.pods.close()
    if not rounds:
        sys.exit("no round was undisturbed")
    ours, alone = zip(*rounds, strict=True)
    for fleet, taken in ((one, alone), (two, ours)):
        shares = ", ".join(f"{part} {statistics.median(r.shares[part] for r in taken):.1%}" for part in taken[0].shares)
        rate = statistics.median(each.rate for each in taken)
        print(f"{fleet.count} pods: {rate:.0f} tokens/s; of a step's time {shares}")
    exchange = statistics.median(each.shares["exchange"] for each in ours)
    print(
        f"each of two sends {two.sent / 1e6:.1f} MB a step and receives as much; this does not overlap with computing, "
        f"since both need the core: {exchange:.1%} of the time, with waiting for the other pod"
    )
    median_ratio("by processor time", [each.processor for each in alone], [each.processor for each in ours])
    print(f"ratio {median_ratio('by tokens/s', [each.rate for each in ours], [each.rate for each in alone]):.2f}")


if __name__ == "__main__":
    main()
