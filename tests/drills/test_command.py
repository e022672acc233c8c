"""The commands of a drill. An unexpected end or a missed deadline breaks the promise."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from palmetto.drills import command as commands
from palmetto.drills.command import Command
from palmetto.drills.kills import was_killed
from palmetto.drills.load import Load
from palmetto.drills.report import PromiseBroken, Report, Undecided
from palmetto.drills.workplace import Run, Workplace

Start = Callable[..., Command]

DEAF = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path("ready").touch()
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return lambda program, *arguments: Command(arguments, tmp_path, program, os.environ)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "DEADLINE", 0.5)
    monkeypatch.setattr(commands, "_GRACE", 0.5)
    monkeypatch.setattr(Load, "by_others", lambda self: 0.25)


@pytest.mark.usefixtures("hurried")
def test_lateness_on_a_busy_machine_is_undecided(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Load, "by_others", lambda self: 0.26)
    with start("import time; time.sleep(600)") as command:
        with pytest.raises(Undecided, match=r"an end of .*, but other programs took 26% of the machine"):
            command.end(0)
        with pytest.raises(Undecided, match=r"^a line\? No: not within 0.5 s, but other programs"):
            command.wait_for("a line", lambda: None)


def test_output_is_shown_without_the_folder(start: Start, tmp_path: Path) -> None:
    with start("import sys; print(sys.argv[1]); print(f'a\\n{sys.argv[1]}', file=sys.stderr)", f"{tmp_path}/x") as one:
        said = one.end(0)
    assert said == ("x\n", "a\nx\n")
    assert said.last_line == "x"


@pytest.mark.parametrize(
    ("program", "expected", "told"),
    [
        ("raise SystemExit(3)", (0,), r"exit code 0 of `a b`\? No: exit code 3, without output"),
        (
            "1 / 0",
            (0, 2),
            r"exit code 0 or exit code 2 of `a b`\? No: exit code 1, ZeroDivisionError: .* zero",
        ),
        ("", (1,), r"exit code 1 of `a b`\? No: exit code 0, without output"),
        ("import os; os.kill(os.getpid(), 9)", (0,), r"exit code 0 of `a b`\? No: SIGKILL, without output"),
        ("import os; os.kill(os.getpid(), 6)", (-signal.SIGKILL, 0), r"SIGKILL or exit code 0 of .* No: SIGABRT"),
    ],
)
def test_an_unexpected_end_breaks_the_promise(start: Start, program: str, expected: tuple[int, ...], told: str) -> None:
    with start(program, "a", "b") as command, pytest.raises(PromiseBroken, match=told):
        command.end(*expected)


@pytest.mark.usefixtures("hurried")
def test_a_command_that_hangs_breaks_the_promise(start: Start, tmp_path: Path) -> None:
    with start(DEAF, "a", "b") as command:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        with pytest.raises(PromiseBroken, match=r"an end of `a b`\? No: it still runs after 0\.5 s"):
            command.end(0)
        assert command.code is None
    assert command.code == -signal.SIGKILL


@pytest.mark.usefixtures("hurried")
def test_a_missed_deadline_breaks_the_promise(start: Start) -> None:
    with start(DEAF) as command, pytest.raises(PromiseBroken, match=r"the end of days\? No: not within 0\.5 s"):
        command.wait_for("the end of days", lambda: False)


def test_waiting_ends_with_the_command(start: Start) -> None:
    with start("") as command:
        assert command.wait_for("never", lambda: 0) is None
    with start(DEAF) as command:
        assert command.wait_for("at once", lambda: 7) == 7
        command.kill()
        assert command.end(-signal.SIGKILL).last_line == "without output"


OBEDIENT = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *told: sys.exit(5))
pathlib.Path('ready').touch()
time.sleep(600)
"""


def test_a_command_is_terminated_with_its_context(start: Start, tmp_path: Path) -> None:
    def interrupted() -> bool:
        if (tmp_path / "ready").exists():
            raise KeyboardInterrupt
        return False

    command = start(OBEDIENT)
    with pytest.raises(KeyboardInterrupt), command:
        command.wait_for("an interrupt", interrupted)
    assert command.code == 5


class Stub(Run):
    """A run with another program instead of `palmetto train`."""

    program = ""

    def start_train(self, *arguments: str) -> Command:
        return self.start("train", program=self.program)


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    (tmp_path / "run").mkdir()
    return Stub(tmp_path, "run", ())


def test_a_run_is_killed_at_an_instant(stub: Stub, tmp_path: Path) -> None:
    stub.program = "import pathlib, time; pathlib.Path('now').touch(); time.sleep(600)"
    assert stub.kill_when("now", (tmp_path / "now").exists)


def test_a_run_that_ended_before_was_not_killed(stub: Stub) -> None:
    assert not stub.kill_when("never", lambda: False)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise RuntimeError('no checkpoint')", "No: exit code 1, RuntimeError: no checkpoint"),
        ("import os; os.kill(os.getpid(), 9)", "No: SIGKILL"),
        ("import os; os.kill(os.getpid(), 11)", "No: SIGSEGV"),
    ],
)
def test_a_failure_before_the_instant_breaks_the_promise(stub: Stub, program: str, told: str) -> None:
    """A run that another program has killed breaks the promise too."""
    stub.program = program
    with pytest.raises(PromiseBroken, match=told):
        stub.kill_when("never", lambda: False)


def test_a_failure_at_the_instant_breaks_the_promise(stub: Stub, tmp_path: Path) -> None:
    stub.program = "import os, pathlib; pathlib.Path('now').write_text(f'{os.getpid()}\\n'); 1 / 0"

    def comes_late() -> bool:
        """Returns true once the process has ended and its file is complete."""
        if not ((tmp_path / "now").exists() and (process := (tmp_path / "now").read_text()).endswith("\n")):
            return False
        os.waitid(os.P_PID, int(process), os.WEXITED | os.WNOWAIT)
        return True

    with pytest.raises(PromiseBroken, match="ZeroDivisionError"):
        stub.kill_when("now", comes_late)


class Copies(Workplace):
    """A workplace without text or tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder


def test_a_run_that_ended_too_early_is_restored(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.ledger.write_text("one\n")
    left: list[int] = []

    def kill_when(what: str, instant: Callable[[], bool]) -> bool:
        left.append(stub.line_count())
        stub.ledger.write_text("one\ntwo\n")
        stub.record_event("resume", text="going on")
        return len(left) == 3

    monkeypatch.setattr(stub, "kill_when", kill_when)
    report = Report("kill", "", lambda text: None)
    report.do("kill")
    assert was_killed(Copies(tmp_path), stub, "now", lambda: True, report)
    assert left == [1, 1, 1]
    assert stub.line_count() == 2
    assert report.story[0]["said"] == ["going on"] * 3
    assert [text.partition(":")[0] for text in report.story[0]["found"]] == [
        "it ended before this instant was seen",
        "it ended before this instant was seen",
        "killed",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_always_too_early_was_not_killed(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "kill_when", lambda what, instant: False)
    report = Report("kill", "", lambda text: None)
    report.do("kill")
    assert not was_killed(Copies(tmp_path), stub, "now", lambda: True, report)
