"""The peer of five_minutes.py from outside: its settings, a run of it, and the sweep that chooses the settings.

The sweep goes along one axis after the other, from the settings that were the best so far, with a full run for each
value. Its record stands in peers/, one file for each instruction set, and is written after every run, so that a sweep
that was stopped goes on. The record's best settings are those that the peer races with.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peer_environment import torch_python

HERE = Path(__file__).resolve().parent
Settings = dict[str, Any]

FIRST: Settings = {
    "layers": 4,
    "width": 128,
    "heads": 4,
    "length": 256,
    "vocabulary": 4096,
    "batch": 16,
    "rate": 3e-3,
    "type": "bfloat16",
    "mode": "default",
}
"""The settings from which the sweep starts, in float32 if the instruction set is limited to AVX2."""

AXES: list[list[Settings]] = [
    [{"type": "float32"}],
    [{"layers": 4, "width": 192, "heads": 6}, {"layers": 6, "width": 192, "heads": 6}],
    [{"batch": 8}, {"batch": 32}, {"batch": 4}],
    [{"rate": 5e-3}, {"rate": 8e-3}, {"rate": 2e-3}],
    [{"vocabulary": 2048}, {"vocabulary": 8192}],
]
"""The changes that are tried along each axis."""


def record_file(avx2: bool) -> Path:
    """Returns the file of the sweep's record."""
    return HERE / "peers" / f"gpt2_sweep{'_avx2' * avx2}.json"


def read_record(avx2: bool) -> list[dict[str, Any]]:
    """Returns the figures of every run of the sweep, none if there was no sweep."""
    file = record_file(avx2)
    runs: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    return runs


def best(record: list[dict[str, Any]], avx2: bool) -> Settings:
    """Returns the settings with the fewest bits a byte, or the first ones if nothing was recorded."""
    if not record:
        return FIRST | ({"type": "float32"} if avx2 else {})
    chosen = min(record, key=lambda run: float(run["bits_a_byte"]))
    return {key: chosen[key] for key in FIRST}


def run(text: Path, settings: Settings, seconds: float, seed: int, environment: Mapping[str, str]) -> dict[str, Any]:
    """Runs the peer and returns its figures. The clock starts before its process; nothing compiled is there before."""
    python, script = torch_python(), HERE / "peers" / "gpt2_torch.py"
    with tempfile.TemporaryDirectory() as cache:
        deadline = str(time.time() + seconds)
        arguments = [str(python), str(script), str(text), deadline, str(seed), json.dumps(settings)]
        done = subprocess.run(
            arguments,
            env=os.environ | environment | {"TORCHINDUCTOR_CACHE_DIR": cache},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def sweep(text: Path, seconds: float, environment: Mapping[str, str], avx2: bool) -> None:
    """Tries the values of every axis and records each run. Runs of other lengths of time are forgotten.

    A sweep that goes on takes the same way again, from record to record.
    """
    record = [run for run in read_record(avx2) if run["seconds"] == seconds]
    axes: list[list[Settings]] = [[{}], *AXES]
    tried: list[dict[str, Any]] = []
    for changes in axes:
        start = best(tried, avx2)
        for change in changes:
            settings = start | change
            figures = next((run for run in record if settings == {key: run[key] for key in FIRST}), None)
            if figures is None:
                figures = run(text, settings, seconds, 0, environment) | {"seconds": seconds}
                record.append(figures)
                record_file(avx2).write_text("[\n" + ",\n".join(map(json.dumps, record)) + "\n]\n")
                print(f"{figures['bits_a_byte']:.4f} bits a byte  {figures['steps']:6} steps  {settings}", flush=True)
            tried.append(figures)
