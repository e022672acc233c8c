"""A tiny recipe with a text, and plans of sweeps over it."""

import os
import shutil
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
