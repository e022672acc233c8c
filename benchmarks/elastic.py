"""What it costs to have the same bits on any number of devices: `training.reproducible=elastic` against `fixed`.

    python benchmarks/elastic.py

Steps of the 15M shape, two layers of it, on two and four virtual CPU devices, at ZeRO 0 and 3, in turns. The
devices share this machine's cores and exchange through its memory. A line a mesh ends with the ratio of tokens/s.
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
