"""Fine-tunes a run on E2E (its devset trains, its testset tests), wholly and by adapters, and compares the bits a byte.

    .venv/bin/python benchmarks/e2e.py DIR FOLDER [--steps 200] [--limit N] [--out runs/e2e]

DIR is the base, FOLDER holds devset.csv and testset_w_refs.csv. Each reference of a meaning is an example. The bits a
byte of the test's references are those of the base and of both fine-tunings, with 95 % intervals that take the
references of one meaning together, and of the differences, which are paired.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

LENGTH = 192


def examples(path: Path) -> list[dict[str, str]]:
    """Returns the examples of a table."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        return [{"prompt": f"{row['mr'].strip()}\n", "target": " ".join(row["ref"].split())} for row in rows]


def bits_of(directory: Path, tested: list[dict[str, str]]) -> npt.NDArray[np.float64]:
    """Returns the bits of each target by the newest checkpoint of a run."""
    from palmetto.runs.directory import RunDirectory

    run = RunDirectory.existing(directory)
    import jax

    from palmetto.decoding.trained import restore
    from palmetto.model import tuning
    from palmetto.parallel.sharding import Sharding
    from palmetto.tokens.vocabulary import Vocabulary
    from palmetto.training.step.loss import Batch
    from palmetto.training.step.validation import window_losses

    recipe, vocabulary = run.recipe, Vocabulary.load(run.vocabulary)
    tokens = np.full((len(tested), LENGTH + 1), vocabulary.eod, np.int32)
    scored = np.zeros(tokens.shape, bool)
    prompts = vocabulary.encode_all([example["prompt"] for example in tested])
    targets = vocabulary.encode_all([example["target"] for example in tested])
    for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
        begin, end = 1 + len(prompt), 1 + len(prompt) + len(target)
        assert end <= LENGTH, "an example fits"
        tokens[row, 1:begin], tokens[row, begin:end], scored[row, begin : end + 1] = prompt, target, True
    losses = jax.jit(window_losses(recipe, tuning.for_platform("cpu"), Sharding(recipe)))
    state, *_ = restore(run)
    found = []
    for start in range(0, len(tested), 64):
        rows = np.arange(start, start + 64) % len(tested)
        means, counts = jax.device_get(losses(state.parameters, Batch(tokens[rows], scored[rows])))  # type: ignore[arg-type]
        found.append((means * counts)[: len(tested) - start])
    return np.concatenate(found).astype(np.float64) / np.log(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--limit", type=int, help="test on so many first references; all by default")
    parser.add_argument("--out", type=Path, default=Path("runs/e2e"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = arguments.out / "train.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in examples(arguments.folder / "devset.csv")))
    common = [f"training.steps={arguments.steps}", f"tokens.sequence_length={LENGTH}", "training.schedule.warmup=10"]
    ways = {
        "whole": ("training.schedule.peak=1e-3",),
        "adapters": ("--lora", "q,k,v,o,gate,up,down", "--rank", "8", "training.schedule.peak=5e-3"),
    }
    for name, more in ways.items():
        command = ["finetune", str(arguments.base), "--data", str(data), "--run", str(arguments.out / name)]
        subprocess.run([sys.executable, "-m", "palmetto", *command, *more, *common], check=True)

    from palmetto.host import environment

    environment.prepare(8)
    from palmetto.evaluation.statistics import Z, ratio

    tested = examples(arguments.folder / "testset_w_refs.csv")[: arguments.limit]
    sizes = [float(len(example["target"].encode())) for example in tested]
    meanings = [example["prompt"] for example in tested]
    bits = {"base": bits_of(arguments.base, tested)}
    bits |= {name: bits_of(arguments.out / name, tested) for name in ways}
    print(f"{len(tested):,} references of {len(set(meanings)):,} meanings, bits a byte")
    for name, each in bits.items():
        found = ratio(each.tolist(), sizes, meanings)
        print(f"{name:20} {found.value:.4f} [{found.interval[0]:.4f}, {found.interval[1]:.4f}]")
    for name, other in (("whole", "base"), ("adapters", "base"), ("adapters", "whole")):
        found = ratio((bits[name] - bits[other]).tolist(), sizes, meanings)
        low, high = found.value - Z * found.error, found.value + Z * found.error  # a difference may be below 0
        print(f"{name} − {other:10} {found.value:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
