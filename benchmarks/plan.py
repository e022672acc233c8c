"""Compiles the plans in the tables of docs/scale.md, and prints a row of Markdown and the command of each.

    python benchmarks/plan.py [--only TEXT]

It needs the TPU compiler (`make .venv/plan`). A row takes one to three minutes on two cores. --only selects the rows
whose command contains TEXT.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any, NamedTuple

PROGRAM = "from palmetto.cli.app import main; main()"


class Row(NamedTuple):
    """A plan in a table."""

    recipe: str
    topology: str
    slices: int
    overrides: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that makes the plan."""
        slices = f" --slices {self.slices}" if self.slices > 1 else ""
        return " ".join([f"palmetto plan {self.recipe} --topology {self.topology}{slices}", *self.overrides])


FIXED = "training.reproducible=fixed"
AS_THE_PAPER = ("training.micro_batch=4", "training.rematerialize=block")
ROWS = (
    Row("palm-540b", "v4:12x16x16", 2, (FIXED, "training.batch_size=2048", *AS_THE_PAPER)),
    Row("palm-540b", "v4:12x16x16", 2, (FIXED, "training.batch_size=2048")),
    Row("palm-540b", "v4:12x16x16", 2, (FIXED, "training.batch_size=512")),
    Row("palm-540b", "v4:12x16x16", 2, ("training.batch_size=512",)),
    Row("palm-62b", "v4:8x8x8", 1, (FIXED, "training.batch_size=1024", "mesh.data=256", "mesh.model=2")),
    Row("palm-62b", "v4:8x8x8", 1, (FIXED, "training.batch_size=1024", "mesh.data=128", "mesh.model=4")),
    Row("palm-8b", "v4:4x4x4", 1, (FIXED, "training.batch_size=512", "mesh.data=64")),
    Row("palm-540b", "v5p:12x16x16", 1, (FIXED, "training.batch_size=1024", "mesh.pod=1", *AS_THE_PAPER)),
    Row("palm-62b", "v6e:16x16", 2, (FIXED, "training.batch_size=1024", "mesh.pod=2", "mesh.data=64", "mesh.model=4")),
    Row("glam-64b-64e", "v4:8x8x16", 1, ()),
)


def measure(row: Row) -> dict[str, Any]:
    """Returns the plan of a row, whether it fits or not."""
    command = [sys.executable, "-c", PROGRAM, *row.command.split()[1:], "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(done.returncode)
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def cells(values: dict[str, Any]) -> list[str]:
    """Returns the cells of a plan's largest batch."""
    mesh = " × ".join(f"{axis} {size}" for axis, size in values["mesh"].items())
    memory = f"{values['memory']['peak'] / 2**30:.1f} of {values['memory']['capacity'] / 2**30:.2f} GiB"
    if not values["fits"]:
        return [values["recipe"], mesh, memory, "does not fit"]
    return [
        f"{values['recipe']}, {values['reproducible']}",
        f"{values['topology']['chips']:,} {values['topology']['name']}, {mesh}",
        f"{values['batch']['sequences']:,}",
        f"{values['step_seconds']:.2f} s",
        *(f"{values[name]:.1%}" for name in ("mfu", "hfu")),
        *(f"{values['roofline'][name]:.1%}" for name in ("mfu", "hfu")),
        memory,
        f"{values['pods']['speedup']:.2f}",
    ]


def main() -> None:
    """Prints each row as soon as it is known, followed by the parts of its time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    print("| recipe | chips | batch | a step | MFU | HFU | rooflines: MFU | HFU | memory a chip | pods |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        if only not in row.command:
            continue
        start = time.perf_counter()
        values = measure(row)
        print(f"| {' | '.join(cells(values))} |")
        print(f"    {row.command}  # {time.perf_counter() - start:.0f} s")
        for name in ("time", "overlap", "flops", "uncounted", "notes"):
            print(f"    {name}: {values.get(name)}")
        for traffic in values.get("collectives", []):
            print(
                f"    {traffic['network']} {traffic['kind']}: {traffic['bytes'] / 1e9:.2f} GB, "
                f"{traffic['seconds']:.3g} s, waited {traffic['waited_seconds']:.3g} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
