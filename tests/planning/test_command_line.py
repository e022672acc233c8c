"""`palmetto plan --topology` as it is typed."""

import json
import subprocess
import sys

import pytest

from palmetto.planning.topology import parse
from tests.planning.test_compile import needs_libtpu

TINY = ("tokens.sequence_length=16", "tokens.vocabulary_size=320", "model.layers=2", "model.d_model=32",
        "model.heads=2", "training.batch_size=8", "mesh.data=4")  # fmt: skip


def palmetto(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from palmetto.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


def test_json() -> None:
    done = palmetto("plan", "palm-1m", "--topology", "h100:4", *TINY, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["fits"] is True
    assert 0 < values["mfu"] <= values["hfu"] * 1.5 < 1.5
    assert set(values["memory"]) >= {"arguments", "temporaries", "peak", "capacity"}
    assert values["compile_seconds"] > 0
    assert values["memory"]["capacity"] == parse("h100:4").chip.memory
    assert values["mesh"] == {"data": 4}
    assert [batch["batch"]["sequences"] for batch in values["batches"]] == [8]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--topology", "v4:3x3"), "v4:3x3: TPU v4 has no such slice"),
        (("--topology", "h100:8", "mesh.data=4"), "mesh: data 4 is 4 devices, and h100:8 has 8"),
        (("--topology", "h100:8", "mesh.model=3"), "mesh.model=3: must divide"),
        (("--slices", "2"), "--slices 2: needs --topology"),
        (("--search",), "--search: needs --topology"),
    ],
)
def test_refusals_are_one_line(arguments: tuple[str, ...], line: str) -> None:
    done = palmetto("plan", "palm-1m", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("palmetto: ")
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


@needs_libtpu
def test_what_does_not_fit_is_one_line_too() -> None:
    large = ("model.d_model=8192", "model.heads=64", "model.layers=64", *TINY[:2], "training.batch_size=8")
    done = palmetto("plan", "palm-1m", "--topology", "v5e:2x2", *large, "mesh.data=4", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["fits"] is False
    assert "does not fit: " in done.stderr.splitlines()[-1]
