"""Plans decoding and prefill as Pope et al. (arXiv 2211.05102) ran them, beside their times, in a table of Markdown.

    python benchmarks/plan_inference.py [--only TEXT] [key.path=value …]

It needs the TPU compiler (`make .venv/plan`), and takes about half a minute of one core for a row. --only selects the
rows whose command contains TEXT. It fails if a row is not between its roofline and twice the published time.
"""

import argparse
import json
import subprocess
import sys
from typing import Any, NamedTuple

PROGRAM = "from palmetto.cli.app import main; main()"
TOKENS = 64
"""The tokens that the paper's times of decoding are for."""


class Row(NamedTuple):
    """A row of the paper's tables 2 and 3: its plan, and the time and MFU that were measured."""

    recipe: str
    phase: str
    topology: str
    layout: str
    weights: str
    seconds: float
    """The seconds of a prefill, or of decoding 64 tokens of each sequence."""
    mfu: float

    @property
    def command(self) -> str:
        """The command that makes the plan."""
        chips = f"--topology {self.topology} --layout {self.layout} --weights {self.weights}"
        return f"palmetto plan {self.recipe} --{self.phase} {chips}"

    @property
    def steps(self) -> int:
        """The steps that the published time is for."""
        return TOKENS if self.phase.startswith("decode") else 1


ROWS = (
    Row("palm-540b", "prefill 1:2048", "v4:4x4x4", "ws2d-heads", "int8", 0.29, 0.43),
    Row("palm-540b", "decode 64:2048", "v4:4x4x4", "ws2d-batch", "int8", 1.82, 0.14),
    Row("palm-540b", "prefill 512:2048", "v4:4x4x4", "wgxyz-batch", "bfloat16", 85.2, 0.76),
    Row("palm-540b", "decode 512:2048", "v4:4x4x4", "ws2d-batch", "bfloat16", 6.0, 0.33),
    Row("palm-62b", "prefill 1:2048", "v4:2x2x4", "ws2d-heads", "int8", 0.16, 0.36),
    Row("palm-62b", "decode 32:2048", "v4:2x2x4", "ws2d-batch", "int8", 0.73, 0.08),
    Row("palm-62b", "prefill 512:2048", "v4:2x4x4", "wgxyz-batch", "bfloat16", 20.2, 0.73),
    Row("palm-62b", "decode 512:2048", "v4:2x2x2", "ws2d-batch", "bfloat16", 5.1, 0.37),
)


def measure(row: Row, overrides: list[str]) -> dict[str, Any]:
    """Returns the plan of a row, whether it fits or not."""
    command = [sys.executable, "-c", PROGRAM, *row.command.split()[1:], *overrides, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        sys.exit(done.returncode)
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def cells(row: Row, values: dict[str, Any]) -> list[str]:
    """Returns the cells of a plan: what is planned, the roofline, the prediction and what was published."""
    memory = f"{values['memory']['peak'] / 2**30:.1f} GiB"
    head = [f"{row.recipe} {row.phase}", f"{values['topology']['chips']}", f"{row.layout}, {row.weights}"]
    if not values["fits"]:
        return [*head, memory, "does not fit"]
    bound, predicted = (row.steps * one["step_seconds"] for one in (values["roofline"], values))
    return [
        *head,
        f"{bound:.3g} s",
        f"{predicted:.3g} s",
        f"{row.seconds:.3g} s",
        f"{values['mfu']:.0%}",
        f"{row.mfu:.0%}",
        memory,
    ]


def main() -> None:
    """Prints each row as soon as it is known, followed by the parts of its time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    print("| step | chips | layout, weights | roofline | predicted | published | MFU | published | memory a chip |")
    print("|---|---|---|---|---|---|---|---|---|")
    outside = []
    for row in (row for row in ROWS if asked.only in row.command):
        values = measure(row, asked.overrides)
        print(f"| {' | '.join(cells(row, values))} |")
        print(f"    {row.command}")
        for name in ("time", "overlap", "flops", "notes"):
            print(f"    {name}: {values.get(name)}")
        for traffic in values.get("collectives", []):
            print(
                f"    {traffic['kind']}: {traffic['bytes'] / 1e9:.3g} GB, {traffic['seconds']:.3g} s, "
                f"waited {traffic['waited_seconds']:.3g} s",
                flush=True,
            )
        least, most = values.get("roofline", {}).get("step_seconds", 0.0), 2 * row.seconds / row.steps
        if not values["fits"] or not least <= values["step_seconds"] <= most:
            outside.append(row.command)
    if outside:
        sys.exit("not between the roofline and twice the published time: " + "; ".join(outside))


if __name__ == "__main__":
    main()
