"""Commands on a small run in this process, and ways to damage its files."""

import json
import sys
from pathlib import Path

from palmetto.cli.app import app
from palmetto.runs.directory import RunDirectory

PALMETTO = str(Path(sys.executable).with_name("palmetto"))

RECIPE = """
corpus: {source: text.txt, section_bytes: 2048, validation_share: 0.1}
tokens: {vocabulary_size: 400, sequence_length: 16}
model: {layers: 1, d_model: 16, heads: 2}
training:
  steps: 6
  batch_size: 4
  checkpoint_every: 2
  evaluate_every: 6
  digest_every: 2
  validation_windows: 8
  peak_flops: 1e11
  schedule: {peak: 1e-2, hold: 100}
"""


def command(*arguments: object) -> int:
    """Runs a command in this process and returns its exit code; a UserError is raised."""
    return app([str(argument) for argument in arguments], standalone_mode=False) or 0


def train(*overrides: object) -> int:
    """Runs `palmetto train` on the copied run and returns its exit code."""
    return command("train", "tiny.yaml", "--run", "run", *overrides)


def contents(run: RunDirectory) -> dict[str, bytes]:
    """Returns the bytes of every file of a run except the lock, by path."""
    files = (path for path in sorted(run.path.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def bits(run: RunDirectory) -> dict[str, bytes | object]:
    """Returns vocabulary, tokens, ledger and the digests of the state, which a repaired run has again."""
    files = [run.vocabulary, run.train_store, run.validation_store, run.ledger]
    return {path.name: path.read_bytes() for path in files} | json.loads(run.summary.read_text())["digest"]


def told(run: RunDirectory) -> list[str]:
    """Returns the names of the events of a run."""
    return [json.loads(line)["event"] for line in run.events.read_text().splitlines()]


def flip(path: Path, position: int) -> None:
    """Changes a bit of the byte at a position of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def flip_middle(path: Path) -> None:
    """Changes a bit in the middle of a file."""
    flip(path, path.stat().st_size // 2)


def truncate(path: Path) -> None:
    """Removes the last 100 bytes of a file."""
    path.write_bytes(path.read_bytes()[:-100])
