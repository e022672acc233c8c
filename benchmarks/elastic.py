"""Measures the cost of the same bits on any number of devices: `training.reproducible=elastic` against `fixed`.

    python benchmarks/elastic.py

Programs take steps of the 15M shape with two layers, on two and four virtual CPU devices, at ZeRO 0 and 3, in turns.
The devices share this machine's cores and memory. The output is the ratio of tokens/s for each mesh.
"""

import argparse

from race import Runner, compare

BATCH, LENGTH = 8, 512
SHAPE = [f"training.batch_size={BATCH}", "training.micro_batch=1", "model.layers=2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps of each program in a round")
    arguments = parser.parse_args()
    for mesh in (["mesh.data=2", "mesh.zero=0"], ["mesh.data=2"], ["mesh.data=4"]):
        runners = [
            Runner.palmetto(kind, "palm-15m", [*SHAPE, *mesh, f"training.reproducible={kind}"], BATCH * LENGTH)
            for kind in ("elastic", "fixed")
        ]
        for _ in range(arguments.rounds):
            for runner in runners:
                runner.take(arguments.steps)
        print(f"{' '.join(mesh)}: ratio {compare(*runners):.2f}")
        for runner in runners:
            runner.stop()


if __name__ == "__main__":
    main()
