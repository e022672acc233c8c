"""Compares a mixture of experts on a CPU with a dense model that has as many active parameters.

    .venv/bin/python benchmarks/experts_cpu.py [--rounds 7] [--steps 2]

The glam-15m recipe (L 6, D 384, F 1536, T 512, T5 positions, GEGLU) competes with glam-15m-8e, with capacity 1.25 and
dropless. Its experts have 1152 units, so that two ungated experts need as many multiplications as one gated layer.
Batches have 8 sequences, and all programs take turns in every round. The last line is the step time of the slower
mixture, divided by that of the dense model.
"""

import argparse
import os
import statistics

from race import Runner, compare

TOKENS = 8 * 512
COMMON = ("training.batch_size=8", f"training.threads={os.cpu_count()}")
EXPERTS = ("model.experts.d_ff=1152",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    arguments = parser.parse_args()
    dense = Runner.palmetto("dense", "glam-15m", COMMON, TOKENS)
    mixtures = [
        Runner.palmetto(name, "glam-15m-8e", (*COMMON, *EXPERTS, f"model.experts.capacity_factor={factor}"), TOKENS)
        for name, factor in (("capacity 1.25", "1.25"), ("dropless", "null"))
    ]
    runners = [dense, *mixtures]
    for _ in range(arguments.rounds):
        for runner in runners:
            runner.take(arguments.steps)
    for runner in runners:
        print(
            f"{runner.name:16} {statistics.median(runner.rates):7.0f} tokens/s   first step {runner.first_step:5.1f} s"
        )
        runner.stop()
    slowest = min(compare(mixture, dense) for mixture in mixtures)
    print(f"step time {1 / slowest:.2f}")


if __name__ == "__main__":
    main()
