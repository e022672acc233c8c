"""Tests that an evaluation on a Ray cluster writes the files of one in this process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RecipeMaker
from tests.evaluation.models import trained

CHOICE = """
name: chosen
file: own.jsonl
context: "Q: {question}\\nA:"
options: options
gold: label
"""
ANSWER = """
name: said
file: own.jsonl
context: "Q: {question}\\nA:"
answers: question
stop: ["\\n", "\\ndef wrap"]
tokens: 8
"""


@pytest.mark.slow
def test_a_cluster_writes_the_same_files(tiny_recipe: RecipeMaker, tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs the extra `ray`")
    run = trained(tiny_recipe, tmp_path / "run")
    records = [{"question": f"text {n}", "options": ["It is.", "def", "a width"], "label": n % 3} for n in range(7)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, text in (("chosen", CHOICE), ("said", ANSWER)):
        (tmp_path / f"{name}.yaml").write_text(text)
    names = ",".join(str(tmp_path / f"{name}.yaml") for name in ("chosen", "said"))
    command: list[Any] = [sys.executable, "-m", "palmetto", "eval", run.path, "--tasks", names, "--data", tmp_path]
    for folder, engine in (("here", ()), ("there", ("--engine", "ray", "--workers", "2"))):
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        subprocess.run([*command, *engine, "--out", tmp_path / folder], env=environment, check=True)
    for name in ("ledger.jsonl", "outcomes.jsonl", "results.json", "evaluation.json"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
