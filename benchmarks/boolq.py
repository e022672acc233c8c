"""Fine-tunes a run on BoolQ, wholly and by adapters, and compares it with the base's few-shot score and the majority.

    .venv/bin/python benchmarks/boolq.py DIR FILE [--steps 60] [--shots 4] [--length 512] [--out runs/boolq]

DIR is the base, FILE is val.jsonl of SuperGLUE's BoolQ. Its records are divided by passage, four fifths for
training. The base answers the rest with shots from the training part, the fine-tuned runs without; differences are
paired. Prompts have lm-eval's form.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

PARTS = 5
"""One of so many passages is for the test."""


def is_for_test(record: dict[str, object]) -> bool:
    """Says on which side of the division a record is; all questions about a passage are on the same."""
    return hashlib.sha256(str(record["passage"]).encode()).digest()[0] % PARTS == 0


def example(record: dict[str, object]) -> dict[str, str]:
    """Returns a record as an example of fine-tuning."""
    prompt = f"{record['passage']}\nQuestion: {record['question']}?\nAnswer:"
    return {"prompt": prompt, "target": " yes" if record["label"] else " no"}


def write(path: Path, records: list[dict[str, object]] | list[dict[str, str]]) -> None:
    """Writes records as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in records))


def palmetto(*arguments: object) -> None:
    """Runs a command."""
    subprocess.run([sys.executable, "-m", "palmetto", *map(str, arguments)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--length", type=int, default=512, help="the tokens of a row; longer examples are left out")
    parser.add_argument("--out", type=Path, default=Path("runs/boolq"))
    arguments = parser.parse_args()
    records = [json.loads(line) for line in arguments.file.read_text("utf-8").splitlines()]
    training = [record for record in records if not is_for_test(record)]
    sets, data = arguments.out / "sets", arguments.out / "train.jsonl"
    write(sets / "superglue" / "BoolQ" / "val.jsonl", [record for record in records if is_for_test(record)])
    write(sets / "superglue" / "BoolQ" / "train.jsonl", training)
    write(data, [example(record) for record in training])
    common = (f"training.steps={arguments.steps}", f"tokens.sequence_length={arguments.length}")
    ways = {
        "whole": ("training.schedule.peak=1e-3",),
        "adapters": ("--lora", "q,k,v,o,gate,up,down", "--rank", "8", "training.schedule.peak=5e-3"),
    }
    evaluated = {"base": (arguments.base, arguments.shots)}
    for name, more in ways.items():
        tuned = arguments.out / name
        palmetto("finetune", arguments.base, "--data", data, "--run", tuned, *more, *common)
        evaluated[name] = tuned, 0
    for name, (run, shots) in evaluated.items():
        out = arguments.out / f"scores-{name}"
        palmetto("eval", run, "--tasks", "boolq", "--data", sets, "--shots", shots, "--out", out)
    majority = json.loads((arguments.out / "scores-base" / "results.json").read_text())["tasks"]["boolq"]["majority"]
    print(f"the majority's answer: {majority:.2f}; the base with {arguments.shots} shots, then whole and adapters:")
    palmetto("compare", *(arguments.out / f"scores-{name}" for name in evaluated))


if __name__ == "__main__":
    main()
