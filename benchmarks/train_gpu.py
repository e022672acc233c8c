"""Compares the training speed on a GPU with PyTorch, for a PaLM of 1.5B parameters.

    python benchmarks/train_gpu.py [--rounds 6] [--steps 3] [--batch 8]

The shape is L 24, D 2048, H 16, Q 128, V 32768, T 2048, with activations in bfloat16. Palmetto competes with PaLM in
compiled PyTorch, with PyTorch's own flash attention and with cuDNN's (peers/palm_torch.py). All use AdamW on float32
parameters and clip the gradient norm. The interpreter must have JAX for GPUs; --torch names one that has PyTorch, if
that is another. The programs do not fit on a GPU together, so they run one after another, Palmetto first and last. The
program prints tokens/s and MFU (PaLM, appendix B) of each, and last the ratio of tokens/s of Palmetto and the better
peer.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from race import Runner

PEER = Path(__file__).resolve().parent / "peers" / "palm_torch.py"
LAYERS, WIDTH, HEADS, VOCABULARY, LENGTH = 24, 2048, 16, 32768, 2048


def overrides(batch: int) -> tuple[str, ...]:
    """Returns the benchmark's model and batch as overrides of PaLM 8B's recipe. The whole batch is one leaf."""
    return (
        *(f"model.layers={LAYERS}", f"model.d_model={WIDTH}", f"model.heads={HEADS}"),
        *(f"tokens.vocabulary_size={VOCABULARY}", f"tokens.sequence_length={LENGTH}"),
        *(f"training.batch_size={batch}", f"training.micro_batch={batch}", "training.steps=1000"),
        *("training.optimizer.name=adamw", "training.reproducible=fixed", "training.rematerialize=nothing"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--batch", type=int, default=8, help="sequences")
    parser.add_argument("--chip", default="h100", help="the chip whose published peak defines the MFU")
    parser.add_argument("--torch", default=sys.executable, help="the interpreter that has PyTorch")
    arguments = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")

    from palmetto.planning.network.chips import CHIPS
    from palmetto.recipe import loading
    from palmetto.training import flops

    tokens, changes = arguments.batch * LENGTH, overrides(arguments.batch)
    peak = CHIPS[arguments.chip].flops
    a_token = flops.flops_per_token(loading.load("palm-8b", changes))
    shape = [str(size) for size in (LAYERS, WIDTH, HEADS, VOCABULARY, LENGTH, arguments.batch)]

    def run(start: Callable[[], Runner]) -> float:
        """Returns a program's tokens/s, the median over the rounds."""
        runner = start()
        for _ in range(arguments.rounds):
            runner.take(arguments.steps)
        runner.stop()
        speed = statistics.median(runner.rates)
        spread = (max(runner.rates) - min(runner.rates)) / speed
        print(
            f"{runner.name:16} {speed:8.0f} tokens/s ± {spread / 2:.1%}   MFU {a_token * speed / peak:.1%}"
            f"   first step {runner.first_step:5.1f} s",
            flush=True,
        )
        return speed

    def peer(attention: str) -> float:
        command = [arguments.torch, str(PEER), attention, *shape]
        return run(lambda: Runner(f"torch {attention}", command, tokens))

    def ours() -> float:
        return run(lambda: Runner.palmetto("palmetto", "palm-8b", changes, tokens))

    first, theirs, last = ours(), [peer("flash"), peer("cudnn")], ours()
    print(f"ratio {statistics.mean((first, last)) / max(theirs):.2f}")


if __name__ == "__main__":
    main()
