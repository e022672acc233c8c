"""Standard streams outlast their readers. Each case has its own process."""

import os
import subprocess
import sys
from typing import Any

import pytest

SETTLED = "import sys; from palmetto.host import streams; streams.settle(); "
WRITES = "[print('x' * 5000, file=sys.{}, flush=True) for _ in range(50)]; "


def end(program: str, **options: Any) -> int:
    return subprocess.run([sys.executable, "-c", SETTLED + program], check=False, **options).returncode


@pytest.fixture
def closed_pipe() -> int:
    """Returns the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_goes_away_ends_nothing(stream: str, closed_pipe: int) -> None:
    assert end(WRITES.format(stream) + "sys.exit(7)", **{stream: closed_pipe}) == 7


def test_a_terminal_that_is_closed_ends_nothing() -> None:
    leader, terminal = os.openpty()
    program = WRITES.format("stderr") + WRITES.format("stdout") + "sys.exit(7)"
    process = subprocess.Popen(
        [sys.executable, "-c", SETTLED + "sys.stdin.readline(); " + program],
        stdin=subprocess.PIPE,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    os.close(leader)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 7


def test_progress_on_a_full_disk_ends_nothing() -> None:
    with open("/dev/full", "wb") as full:
        assert end(WRITES.format("stderr") + "sys.exit(7)", stderr=full) == 7


def test_an_answer_on_a_full_disk_is_an_error() -> None:
    program = "\ntry: print('x')\nexcept OSError as error: sys.exit(f'{error.filename}: {error.strerror}')"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-c", SETTLED + program], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


@pytest.mark.parametrize("descriptor", [0, 1, 2])
def test_a_closed_stream_is_never_another_file(descriptor: int) -> None:
    program = f"import os; sys.exit(not os.path.samestat(os.fstat({descriptor}), os.stat(os.devnull)))"
    assert end(program, preexec_fn=lambda: os.close(descriptor)) == 0


def test_no_byte_is_lost_on_a_full_pipe() -> None:
    program = "import os; os.set_blocking(1, False); print('é' * 1_000_000); print('end')"
    done = subprocess.run(
        [sys.executable, "-c", SETTLED + program], stdout=subprocess.PIPE, env={"PYTHONUTF8": "1"}, check=True
    )
    assert done.stdout.decode() == "é" * 1_000_000 + "\nend\n"


def test_a_signal_handler_may_write_during_a_write() -> None:
    program = """
import signal
signal.signal(signal.SIGALRM, lambda number, frame: print("signal", file=sys.stderr))
signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
for _ in range(20000): print("line", file=sys.stderr)
signal.setitimer(signal.ITIMER_REAL, 0)
sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", SETTLED + program], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7, done.stderr[-500:]
    assert done.stderr.count("line") == 20000
