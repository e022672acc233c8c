"""Every drill as a user runs it; and that what it looks at can differ."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto import drills
from palmetto.drills.report import PromiseBroken, Report
from palmetto.drills.workplace import Workplace
from palmetto.files import sha256

pytestmark = pytest.mark.slow

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled programs are shared with the other whole runs of the suite."""
    return tmp_path_factory.getbasetemp().parent / "compiled"


@pytest.fixture
def command(tmp_path: Path, compiled: Path) -> Command:
    """`palmetto` with a temporary directory of its own, `tmp_path`."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NPROC", "XLA_FLAGS")}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TMPDIR": str(tmp_path),
    }
    palmetto = Path(sys.executable).with_name("palmetto")
    return lambda *arguments: subprocess.run(
        [palmetto, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("name", [name for name in drills.DRILLS if name != "ledger-tamper"])
def test_the_promise_holds(command: Command, tmp_path: Path, name: str) -> None:
    done = command("drill", name, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    check_story(name, done.stderr)
    values = json.loads(done.stdout)
    assert (values["drill"], values["held"], values["broken"]) == (name, True, None)
    assert sum(len(each["said"]) for each in values["story"]) >= 1, "the run is quoted"
    assert all(f"✓ {claim}\n" in done.stderr for claim in values["checks"])
    assert len(values["checks"]) >= 2
    assert len(values["digests"]) >= 2
    assert all(len(digest) == 64 for row in values["digests"].values() for digest in row.values())
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_without_json_the_story_is_the_answer(command: Command, tmp_path: Path) -> None:
    done = command("drill", "ledger-tamper")
    assert (done.returncode, done.stderr) == (0, "")
    check_story("ledger-tamper", done.stdout)
    assert "    | step 12: loss differs: recorded " in done.stdout
    assert not list(tmp_path.iterdir())


def check_story(name: str, story: str) -> None:
    assert story.startswith(f"drill {name}\nthe promise: {drills.DRILLS[name].promise}\n")
    assert story.endswith("\nthe promise held\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), ("which drill?",)), (("spikes",), ("'spikes'", "did you mean 'spike'?")), (("x",), ("'x'",))],
    ids=str,
)
def test_without_a_drill_of_that_name_they_are_listed(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = command("drill", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for word in (*words, *drills.DRILLS):
        assert word in done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("workplace"))


def test_states_and_ledgers_that_differ_are_told_apart(
    place: Workplace, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compiled))
    run = place.run("run")
    report = Report("x", "y", lambda text: None)
    rows = {}
    for step in ("1", "2"):
        run.train("--until", step)
        rows[step] = run.digests()
    data = run.ledger.read_bytes()
    run.ledger.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])
    report.compare(rows | {"tampered": rows["2"] | {"ledger": sha256(run.ledger)}})
    report.check_same("2", "2")
    with pytest.raises(PromiseBroken, match="not the same parameters, optimizer and ledger"):
        report.check_same("2", "1")
    with pytest.raises(PromiseBroken, match="not the same ledger"):
        report.check_same("tampered", "2")


def test_a_command_that_ends_otherwise_than_expected_breaks_the_promise(place: Workplace) -> None:
    run = place.run("untrained")
    with pytest.raises(
        PromiseBroken, match=r"exit code 0 of `verify untrained`\? No: 2, palmetto: untrained: not a run"
    ):
        run.verify()
