"""Every drill as a user runs it. The evidence that drills compare can differ."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto.drills.catalogue import DRILLS
from palmetto.drills.report import PromiseBroken, Report
from palmetto.drills.workplace import Workplace
from palmetto.files import sha256
from palmetto.json_lines import read_json_lines

pytestmark = pytest.mark.slow

Command = Callable[..., "subprocess.CompletedProcess[str]"]

PALMETTO = Path(sys.executable).with_name("palmetto")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Returns an environment with `tmp_path` as its temporary directory."""
    environment = {k: v for k, v in os.environ.items() if k not in ("NPROC", "XLA_FLAGS")}
    return environment | {"TMPDIR": str(tmp_path)}


@pytest.fixture
def command(environment: dict[str, str]) -> Command:
    """Returns a function that runs `palmetto` in that environment."""
    return lambda *arguments: subprocess.run(
        [PALMETTO, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("name", [name for name in DRILLS if name != "ledger-tamper"])
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
    assert all(len(digest.removeprefix("tree:")) == 64 for row in values["digests"].values() for digest in row.values())
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_without_json_the_story_is_the_answer(command: Command, tmp_path: Path) -> None:
    done = command("drill", "ledger-tamper")
    assert (done.returncode, done.stderr) == (0, "")
    check_story("ledger-tamper", done.stdout)
    assert "    | step 12: loss differs: recorded " in done.stdout
    assert not list(tmp_path.iterdir())


def is_alive(process: int) -> bool:
    """Returns whether a process exists and is not a zombie."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to see processes in")
def test_sigterm_ends_a_drill_with_its_processes(environment: dict[str, str], tmp_path: Path) -> None:
    """The drill has started a training and its pods, which have sessions of their own."""
    process = subprocess.Popen(
        [PALMETTO, "drill", "pod-loss"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def started() -> list[int]:
        events = [event for file in tmp_path.glob("*/disturbed/events.jsonl") for event in read_json_lines(file)]
        return [event["process"] for event in events if event["event"] == "pod joined"]

    try:
        deadline = time.monotonic() + 300
        while len(started()) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        (lock,) = tmp_path.glob("*/disturbed/.lock")
        others = [int(lock.read_text()), *started()]
        assert len(others) == 3
        assert all(map(is_alive, others))
        process.terminate()
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (130, "palmetto: interrupted\n")
    assert not list(filter(is_alive, others))
    assert not list(tmp_path.iterdir())


def check_story(name: str, story: str) -> None:
    assert story.startswith(f"drill {name}\nthe promise: {DRILLS[name].promise}\n")
    assert story.endswith("\nthe promise held\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((), ("which drill?",)), (("spikes",), ("'spikes'", "did you mean 'spike'?")), (("x",), ("'x'",))],
    ids=str,
)
def test_an_unknown_drill_lists_all_drills(
    command: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = command("drill", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    for word in (*words, *DRILLS):
        assert word in done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace.make(tmp_path_factory.mktemp("workplace"))


def test_different_states_and_ledgers_are_told_apart(place: Workplace) -> None:
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


def test_an_unexpected_exit_code_breaks_the_promise(place: Workplace) -> None:
    run = place.run("untrained")
    with pytest.raises(
        PromiseBroken, match=r"exit code 0 of `verify untrained`\? No: exit code 2, palmetto: untrained: not a run"
    ):
        run.verify()
