"""Compares the training speed on a CPU with PyTorch, in the shapes of two recipes.

    .venv/bin/python benchmarks/train_cpu.py [--rounds 5] [--steps 2] [--float32] [--profile]

The shapes are palm-15m's (L 6, D 384, H 6, Q 64, V 8192, T 512, batch 8) and quickstart's (L 4, D 128, H 4, V 8192,
T 256, batch 16). In each, Palmetto (float32 and bfloat16) competes with transformers' CohereForCausalLM (eager,
compiled, and compiled with max-autotune, each in float32 and bfloat16), all with AdamW and clipping. Each program has
its own process, and they take turns within every round, so that changes in the machine's speed affect all of them. A
peer whose first step takes more than a minute, with compilation, is left out of the rounds, unless max-autotune is what
takes long. The peer has its own virtual environment, made on first use. The ratio of a shape is that of tokens/s of the
better Palmetto and the best of its peers, the median over the rounds. The last line is the least ratio.

`--profile` prints instead where Palmetto's step goes in each shape and type (profile_step.py).
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from overheads import overheads
from peer_environment import torch_python
from race import Runner, compare

from palmetto.recipe import loading

HERE = Path(__file__).resolve().parent
MODES = ("eager", "compile", "max-autotune")
_SLOWEST = 60.0
"""The most seconds of a first step without autotuning."""
# One thread for each core, as in PyTorch; the default of 8 would keep the bits on up to 8 devices.
COMMON = ("training.optimizer.name=adamw", "training.steps=1000", f"training.threads={os.cpu_count()}")


@dataclass(frozen=True)
class Shape:
    """A recipe's sizes at a batch of so many sequences."""

    recipe: str
    batch: int

    @property
    def overrides(self) -> tuple[str, ...]:
        """The changes of the recipe."""
        return (*COMMON, f"training.batch_size={self.batch}")

    @property
    def tokens(self) -> int:
        """The tokens of a step."""
        return self.batch * loading.load(self.recipe).tokens.sequence_length

    @property
    def arguments(self) -> list[str]:
        """The sizes as the peer takes them: layers, width, heads, vocabulary, length, batch."""
        recipe = loading.load(self.recipe)
        model, tokens = recipe.model, recipe.tokens
        sizes = (model.layers, model.d_model, model.heads, tokens.vocabulary_size, tokens.sequence_length, self.batch)
        return [str(size) for size in sizes]


SHAPES = (Shape("palm-15m", 8), Shape("quickstart", 16))


def race(shape: Shape, types: Sequence[str], rounds: int, steps: int) -> float:
    """Prints the tokens/s of all programs in a shape, and returns the ratio of the better Palmetto's to the best
    peer's.
    """
    print(f"{shape.recipe}: batches of {shape.batch} sequences")
    python, script = torch_python(), HERE / "peers" / "cohere_torch.py"
    ours = [
        Runner.palmetto(
            f"palmetto {dtype}", shape.recipe, (*shape.overrides, f"model.activations={dtype}"), shape.tokens
        )
        for dtype in types
    ]
    peers = [
        Runner(f"torch {mode} {dtype}", [str(python), str(script), mode, dtype, *shape.arguments], shape.tokens)
        for mode in MODES
        for dtype in types
    ]
    racing = [peer for peer in peers if peer.first_step < _SLOWEST or "autotune" in peer.name]
    for _ in range(rounds):
        for runner in (*ours, *racing):
            runner.take(steps)
    for runner in (*ours, *peers):
        speed = f"{speed_of(runner):7.0f} tokens/s" if runner.rates else "out of the race"
        print(f"  {runner.name:28} {speed:16}   first step {runner.first_step:5.1f} s")
        runner.stop()
    mine, best = (max(side, key=speed_of) for side in (ours, racing))
    overheads(loading.load(shape.recipe, shape.overrides), shape.tokens / speed_of(mine))
    ratio = compare(mine, best)
    print(f"{shape.recipe}: {ratio:.2f}", flush=True)
    return ratio


def speed_of(runner: Runner) -> float:
    """Returns the median tokens/s of a program."""
    return statistics.median(runner.rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    parser.add_argument("--float32", action="store_true", help="leave out bfloat16, which is slow if a CPU lacks it")
    parser.add_argument("--profile", action="store_true", help="print where Palmetto's step goes, and do not race")
    arguments = parser.parse_args()
    types = ["float32"] if arguments.float32 else ["float32", "bfloat16"]
    if arguments.profile:
        for shape in SHAPES:
            for dtype in types:
                chosen = (shape.recipe, *shape.overrides, f"model.activations={dtype}")
                subprocess.run([sys.executable, HERE / "profile_step.py", *chosen], check=True)
        return
    print(f"ratio {min(race(shape, types, arguments.rounds, arguments.steps) for shape in SHAPES):.2f}")


if __name__ == "__main__":
    main()
