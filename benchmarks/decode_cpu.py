"""Compares the speed of decoding on a CPU with CTranslate2, llama.cpp (xllamacpp) and transformers' generate.

    .venv/bin/python benchmarks/decode_cpu.py [--sizes 15m,150m] [--types float32,int8] [--batches 1,8,64,prefill]
        [--peers ctranslate2,llamacpp,torch] [--rounds 3] [--new 128] [--folder runs/decode_cpu] [--no-server]

The shapes are palm-15m's (L 6, D 384, H 6, V 8192) and palm-150m's (L 10, D 896, H 7, V 32768), in float32, with random
weights, which `palmetto export` writes for each peer. A batch of 1, 8 or 64 prompts of 128 random tokens gets 128
greedy tokens each; a prefill is one prompt of 512 with one new token. Prompts differ in each round. Each program has
its own process, and they take turns within every round. A peer runs on the number of threads that was best in a trial.
One that was not half as fast as the best peer in that trial leaves the race. The ratio of a point is that of tokens/s
of Palmetto and of the best peer of the same type of weights, the median over the rounds.

Palmetto's rows R of a step are the most; a step has 1, 8 or R of them, as many as there is work for. The column
"server's R" has the ratio with `palmetto serve`'s default, 64. Then follow, for each size: what share of a step is
spent outside its compiled programs, how fast weights and keys are read and numbers multiplied against what this machine
can do, what a cached prefix and guessed tokens save, and `palmetto serve` with 64 clients against the engine alone.
The last lines are the least ratios, `ratio-int8` and `ratio`.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

from palmetto.host import environment

os.environ.setdefault("JAX_PLATFORMS", "cpu")
environment.prepare(os.cpu_count() or 1)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import decode_machine  # noqa: E402
import decode_server  # noqa: E402
import numpy as np  # noqa: E402
from decode_model import Made, prepared  # noqa: E402
from decode_runners import PEERS, Runner  # noqa: E402

SERVER_ROWS = 64
"""The rows of a step that `palmetto serve` has by default."""
LEFT_BEHIND = 0.5
"""A peer that is slower than this share of the best one leaves the race."""


class Point(NamedTuple):
    """Says what is measured: so many prompts at a time, of so many tokens, with so many new ones each."""

    name: str
    batch: int
    prompt: int
    new: int
    rows: int
    """The rows of Palmetto's step."""

    @property
    def tokens(self) -> int:
        """The tokens that the speed counts: new ones, or those of the prompt of a prefill."""
        return self.batch * (self.new if self.new > 1 else self.prompt)

    def prompts(self, seed: int, vocabulary: int) -> list[list[int]]:
        """Returns random prompts."""
        drawn: list[list[int]] = np.random.default_rng(seed).integers(8, vocabulary, (self.batch, self.prompt)).tolist()
        return drawn


def points(names: list[str], new: int) -> list[Point]:
    known = {
        "1": Point("1", 1, 128, new, 128),
        "8": Point("8", 8, 128, new, 128),
        "64": Point("64", 64, 128, new, 128),
        "prefill": Point("prefill", 1, 512, 1, 128),
    }
    return [known[name] for name in names]


def race(point: Point, made: Made, ours: Runner, peers: list[Runner], rounds: int) -> float:
    """Prints the ratios of a point, and returns that of Palmetto and the best peer."""
    trial = point.prompts(0, made.vocabulary)
    for peer in peers:
        peer.choose_threads(trial, min(point.new, 16))
    fastest = max((peer.trial for peer in peers), default=0.0)
    racing = [peer for peer in peers if peer.trial >= LEFT_BEHIND * fastest]
    both = [point.rows] if point.rows == SERVER_ROWS else [point.rows, SERVER_ROWS]
    for rows in both:
        ours.take(trial, min(point.new, 4), rows=rows)
    rates: dict[str, list[float]] = {}
    tokens: dict[str, list[int]] = {}
    for number in range(rounds):
        prompts = point.prompts(1 + number, made.vocabulary)
        for rows in both:
            # The prompts are not those of the other rows, which are another engine's, with a cache of its own.
            answer = ours.take(prompts, point.new, rows=rows)
            rates.setdefault(f"palmetto R={rows}", []).append(point.tokens / answer["seconds"])
            tokens[ours.name] = answer["tokens"]
        for peer in racing:
            answer = peer.take(prompts, point.new)
            rates.setdefault(peer.name, []).append(point.tokens / answer["seconds"])
            tokens[peer.name] = answer["tokens"]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max((peer.name for peer in racing), key=medians.__getitem__, default="")
    for peer in peers:
        own = medians.get(peer.name)
        speed = (
            f"{own:8.0f} tokens/s on {peer.threads} threads"
            if own
            else f"out of the race at {peer.trial / fastest:.2f}"
        )
        same = sum(a == b for a, b in zip(tokens.get(peer.name, ()), tokens[ours.name], strict=False))
        print(f"    {peer.name:24} {speed}" + (f", {same} of {point.new} tokens as Palmetto's" if own else ""))
    for rows in both:
        print(f"    {f'palmetto R={rows}':24} {medians[f'palmetto R={rows}']:8.0f} tokens/s")
    if not best:
        return float("nan")
    ratios = {
        rows: statistics.median(a / b for a, b in zip(rates[f"palmetto R={rows}"], rates[best], strict=True))
        for rows in both
    }
    print(
        f"  {made.size} {ours.weights:8} batch {point.name:8} R {point.rows:4}  ratio {ratios[both[0]]:.2f}  "
        f"server's R {ratios[both[-1]]:.2f}  against {best}",
        flush=True,
    )
    return ratios[both[0]]


def _several(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=["15m", "150m"], type=_several)
    parser.add_argument("--types", default=["float32", "int8"], type=_several)
    parser.add_argument("--batches", default=["1", "8", "64", "prefill"], type=_several)
    parser.add_argument("--peers", default=list(PEERS), type=_several)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--new", type=int, default=128, help="new tokens of each prompt")
    parser.add_argument("--folder", type=Path, default=Path("runs/decode_cpu"), help="where runs and exports are kept")
    parser.add_argument("--no-server", action="store_true", help="leave the server out")
    arguments = parser.parse_args()
    least: dict[str, list[float]] = {name: [] for name in arguments.types}
    machine = decode_machine.measure()
    print(
        f"this machine reads {machine.bytes / 1e9:.1f} GB/s and multiplies {machine.flops / 1e9:.0f} GFLOP/s in float32"
    )
    for size in arguments.sizes:
        made = prepared(size, arguments.folder, arguments.peers)
        for weights in arguments.types:
            ours = Runner.palmetto(made, weights)
            peers = [peer for name in arguments.peers for peer in PEERS[name](made, weights)]
            for point in points(arguments.batches, arguments.new):
                least[weights].append(race(point, made, ours, peers, arguments.rounds))
            decode_machine.report(made, ours, machine)
            for runner in (ours, *peers):
                runner.stop()
        if not arguments.no_server:
            decode_server.report(made)
    for weights in sorted(least, reverse=True):
        print(f"ratio{'' if weights == 'float32' else f'-{weights}'} {min(least[weights]):.2f}")


if __name__ == "__main__":
    main()
