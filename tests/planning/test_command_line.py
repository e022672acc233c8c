"""The command `palmetto plan --topology`."""

import json
import subprocess
import sys

import pytest

from palmetto.planning.network.topology import parse

TINY = (
    "tokens.sequence_length=16",
    "tokens.vocabulary_size=320",
    "model.layers=2",
    "model.d_model=32",
    "model.heads=2",
    "training.batch_size=8",
    "mesh.data=4",
)


def palmetto(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from palmetto.cli.app import main; main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_json_holds_the_plan() -> None:
    done = palmetto("plan", "palm-1m", "--topology", "h100:4", *TINY, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["fits"] is True
    assert 0 < values["mfu"] <= values["hfu"] * 1.5 < 1.5
    assert set(values["memory"]) >= {"arguments", "temporaries", "peak", "capacity"}
    assert values["compile_seconds"] > 0
    assert values["memory"]["capacity"] == parse("h100:4").chip.memory
    assert values["mesh"] == {"data": 4}
    used = values["energy"]
    assert (used["chips"], used["watts"]) == pytest.approx((4, 700))
    assert used["kwh"] == pytest.approx(used["hours"] * 4 * 0.7)
    assert [batch["batch"]["sequences"] for batch in values["batches"]] == [8]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_plan_that_does_not_fit_is_one_line() -> None:
    """The state alone would fit; the activations that the backward pass needs do not."""
    much = (
        *TINY,
        "model.layers=100",
        "training.micro_batch=1024",
        "training.batch_size=4096",
        "training.rematerialize=nothing",
        "model.d_ff=16384",
    )
    done = palmetto("plan", "palm-1m", "--topology", "h100:4", *much, "--json")
    assert done.returncode == 1, done.stderr
    values = json.loads(done.stdout)
    assert values["fits"] is False
    assert values["memory"]["arguments"] < values["memory"]["capacity"] / 4
    assert values["memory"]["peak"] > values["memory"]["capacity"]
    assert values["notes"]
    assert "does not fit: " in done.stderr.splitlines()[-1]
