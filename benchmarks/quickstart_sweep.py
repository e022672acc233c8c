"""Chooses the quickstart's settings for the fewest bits a byte in five minutes on this machine, with `palmetto sweep`.

    .venv/bin/python benchmarks/quickstart_sweep.py DIR [--seconds 300] [--seeds 1] [--avx2] [KEY.PATH=VALUE]...

It goes along one axis after the other, from the recipe with the overrides, and keeps the best choice of each. Every
choice takes as many steps as fit into its time with all that `palmetto run` does: two short runs give the time that the
steps do not take, and a step's. The choices of an axis are one sweep, in DIR/AXIS. What differs in vocabulary is
compared in bits a byte of the same held-out text (bits_a_byte.py). The same command goes on after an interruption; it
takes hours. The last line is the best recipe, as overrides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from five_minutes import AVX2, HERE

from palmetto.errors import UserError
from palmetto.recipe import loading

Choice = dict[str, Any]
AXES: dict[str, dict[str, Choice]] = {
    "type": {
        "bfloat16": {"model.activations": "bfloat16"},
        "float32": {"model.activations": "float32"},
    },
    "leaf": {str(size): {"training.micro_batch": size} for size in (1, 4, 16)},
    "optimizer": {
        "adafactor": {},
        "adamw": {"training.optimizer": {"name": "adamw"}, "training.schedule.peak": 1.5e-2},
    },
    "peak": {str(peak): {"training.schedule.peak": peak} for peak in (2e-2, 4e-2, 6e-2, 8e-2, 1.2e-1)},
    "cooldown": {
        f"{shape}-{share}": {"training.schedule.cooldown": {"shape": shape, "share": share}}
        for shape, share in (("linear", 0.3), ("linear", 0.6), ("linear", 0.9), ("1-sqrt", 0.6), ("1-sqrt", 0.9))
    },
    "size": {
        f"{layers}x{width}": {"model.layers": layers, "model.d_model": width, "model.heads": width // 32}
        for layers, width in ((3, 128), (4, 128), (6, 128), (4, 192), (6, 192))
    },
    "batch": {str(batch): {"training.batch_size": batch} for batch in (8, 16, 32)},
    "vocabulary": {str(size): {"tokens.vocabulary_size": size} for size in (4096, 8192, 16384)},
}
SHORT = (20, 120)
"""The steps of the two short runs."""
MARGIN = 0.97
"""The share of the steps that fit which are taken, since no two runs take the same time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("overrides", nargs="*", help="where to start from")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--avx2", action="store_true", help="limit the instruction set to AVX2")
    arguments = parser.parse_args()
    variables = os.environ | (AVX2 if arguments.avx2 else {})
    best: Choice = dict(override.split("=", 1) for override in arguments.overrides)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for axis, changes in AXES.items():
        choices = {label: merged(best, change) for label, change in changes.items()}
        choices = {label: choice for label, choice in choices.items() if is_possible(f"{axis} {label}", choice)}
        for label, choice in choices.items():
            choice["training.steps"] = steps_that_fit(choice, arguments.seconds, arguments.folder, variables)
            print(f"{axis} {label}: {choice['training.steps']} steps", flush=True)
        bits = sweep(axis, choices, arguments.seeds, arguments.folder / axis, variables)
        for label in sorted(bits, key=lambda each: bits[each]):
            print(f"{axis} {label}: {bits[label]:.4f} bits a byte", flush=True)
        best = choices[min(bits, key=lambda each: bits[each])]
    print(" ".join(pairs_of(best)))


def merged(choice: Choice, change: Choice) -> Choice:
    """Returns a choice with a change. A section that is set as a whole replaces its keys."""
    kept = {key: value for key, value in choice.items() if not any(key.startswith(f"{new}.") for new in change)}
    return kept | change


def pairs_of(choice: Choice, between: str = "=") -> list[str]:
    """Returns a choice as overrides, sections before their keys; JSON is YAML."""
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in choice.items()}
    return [f"{key}{between}{values[key]}" for key in sorted(values)]


def is_possible(label: str, choice: Choice) -> bool:
    """Returns whether a choice is a recipe, and says so if it is not; the leaf may not fit the batch."""
    try:
        loading.load("quickstart", [*pairs_of(choice), "training.steps=1"])
    except UserError as error:
        print(f"{label}: left out: {error}", flush=True)
        return False
    return True


def steps_that_fit(choice: Choice, seconds: float, folder: Path, variables: Mapping[str, str]) -> int:
    """Returns the number of steps that fit into the time; it is measured once and recorded."""
    record = folder / "steps.json"
    known: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}
    rest = {key: value for key, value in choice.items() if key != "training.steps"}
    key = f"{seconds}: {' '.join(pairs_of(rest))}"
    if key not in known:
        short, long = (wall_clock(rest | {"training.steps": steps}, variables) for steps in SHORT)
        step = (long - short) / (SHORT[1] - SHORT[0])
        known[key] = max(1, int(MARGIN * (seconds - short + SHORT[0] * step) / step))
        record.write_text(json.dumps(known, indent=1))
    return known[key]


def wall_clock(choice: Choice, variables: Mapping[str, str]) -> float:
    """Returns the seconds of a run from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*palmetto("run"), "quickstart", *pairs_of(choice), "--run", folder]
        start = time.perf_counter()
        subprocess.run(command, env=variables, check=True, capture_output=True)
        return time.perf_counter() - start


def sweep(
    axis: str, choices: dict[str, Choice], seeds: int, out: Path, variables: Mapping[str, str]
) -> dict[str, float]:
    """Trains all choices with `palmetto sweep` and returns their bits a byte, the median over the seeds."""
    bundles = (f"{label}:{{{', '.join(pairs_of(choice, ': '))}}}" for label, choice in choices.items())
    command = [*palmetto("sweep"), "quickstart", f"{axis}={','.join(bundles)}", "--seeds", str(seeds)]
    done = subprocess.run(
        [*command, "--out", str(out), "--json"], env=variables, stdout=subprocess.PIPE, text=True, check=False
    )
    answer = json.loads(done.stdout)
    labels = {tuple(choice["overrides"]): choice["values"][axis] for choice in answer["choices"]}
    bits: dict[str, list[float]] = {}
    for point in answer["points"]:
        if point["status"] == "done":
            command = [sys.executable, str(HERE / "bits_a_byte.py"), str(out / point["directory"])]
            scored = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(scored.stdout)["bits_a_byte"]
            bits.setdefault(labels[tuple(point["overrides"])], []).append(found)
    return {label: statistics.median(found) for label, found in bits.items()}


def palmetto(command: str) -> list[str]:
    """Returns the beginning of a command line."""
    return [sys.executable, "-m", "palmetto", command]


if __name__ == "__main__":
    main()
