"""A tiny recipe with a text, plans of sweeps over it, and commands that train several runs of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from palmetto.files import write_text
from palmetto.sweeps.plan import Plan, plan

RECIPE = """
corpus: {section_bytes: 4096, validation_share: 0.1}
tokens: {vocabulary_size: 400, sequence_length: 16}
model: {layers: 1, d_model: 16, heads: 1}
training:
  steps: 400
  batch_size: 2
  schedule: {peak: 1e-2, hold: 20}
  evaluate_every: 50
  validation_windows: 8
  peak_flops: 1e11
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_text(tmp_path / "tiny.yaml", RECIPE)
    shutil.copy(Path(os.__file__).with_name("argparse.py"), tmp_path / "text.txt")
    return tmp_path


def planned(folder: Path, *axes: str, seeds: int = 2) -> Plan:
    return plan(str(folder / "tiny.yaml"), axes, seeds, str(folder / "text.txt"), folder / "out")


TINY = ("tiny.yaml", "--source", "text.txt", "--out", "out")
"""Arguments of `palmetto sweep` and `ladder`: the recipe, its text, and the folder of the runs."""


def start(folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    """Starts a command of the program in a folder."""
    settled = ("NPROC", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
    variables = {name: value for name, value in os.environ.items() if name not in settled}
    program = [sys.executable, "-c", "from palmetto.cli.app import main; main()"]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(folder: Path, *arguments: object, expect: int = 0) -> tuple[str, str]:
    """Runs a command as `start` does; returns what it writes to standard output and to standard error."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=600)
    assert process.returncode == expect, f"{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def files(folder: Path) -> dict[Path, int]:
    """Returns the time when each file of the runs was written."""
    return {file: file.stat().st_mtime_ns for file in folder.glob("out/*/**/*") if file.is_file()}
