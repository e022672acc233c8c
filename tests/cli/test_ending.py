"""The command line ends with one line, whenever Ctrl-C comes."""

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED = "palmetto: interrupted\n"

IN_A_COMMAND = """
import atexit, os, signal, sys, time
from palmetto.cli.app import app, main

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            interrupt()

class Late:
    def __del__(self):
        interrupt()
        time.sleep(1)

@app.command()
def fail():
    sys.meta_path.insert(0, Finder())
    {command}

sys.argv[1:] = ["fail"]
main()
"""

BEFORE_A_COMMAND = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from palmetto.__main__ import main
main()
"""


def run(program: str) -> tuple[int, str]:
    """Runs a program in a process of its own; returns its exit code and what it wrote to standard error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert not done.stdout
    return done.returncode, done.stderr


def run_in_a_command(command: str, module: str = "") -> tuple[int, str]:
    """Runs a statement inside a command; Ctrl-C comes when `module` is imported."""
    return run(IN_A_COMMAND.format(command=command, module=module))


def test_an_interrupt_before_any_command_has_no_traceback() -> None:
    assert run(BEFORE_A_COMMAND) == (130, "")


@pytest.mark.parametrize("module", ["numpy", "jaxlib.mlir.ir"])
def test_an_interrupt_during_an_import_has_no_traceback(module: str) -> None:
    """The C code of numpy would print the exception and continue."""
    assert run_in_a_command("import jax; time.sleep(60)", module) == (130, INTERRUPTED)


@pytest.mark.parametrize("command", ["interrupt()", "Late()"])
def test_an_interrupt_anywhere_is_one_line(command: str) -> None:
    """Python raises no error from a destructor."""
    assert run_in_a_command(command) == (130, INTERRUPTED)


def test_an_interrupt_after_the_command_is_ignored() -> None:
    assert run_in_a_command("atexit.register(interrupt)") == (0, "")


STOPPED = """
import os, signal, sys
from palmetto.cli import run, train
from palmetto.cli.app import main
from palmetto.workflow import report, tokens, training

def interrupt(*arguments):
    os.kill(os.getpid(), signal.SIGINT)

training.check = tokens.build_tokens = lambda *arguments: None
training.train = lambda *arguments: False
report.write_report = run.answer_summary = train.answer_summary = interrupt
sys.argv[1:] = [{command!r}, "quickstart", "--run", {run!r}]
main()
"""


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_second_interrupt_of_a_stopped_training_is_ignored(command: str, tmp_path: Path) -> None:
    assert run(STOPPED.format(command=command, run=str(tmp_path / "run"))) == (0, "")


def test_errors_of_the_system_name_the_file() -> None:
    error = "palmetto: /nowhere/x.txt: No such file or directory\n"
    assert run_in_a_command("open('/nowhere/x.txt')") == (2, error)


def test_an_internal_error_ends_the_process_at_once() -> None:
    """JAX would wait at the exit for a cluster's other processes."""
    code, written = run_in_a_command("atexit.register(time.sleep, 600); raise AssertionError('ours')")
    assert code == 1
    assert written.endswith("AssertionError: ours\n")


def test_a_command_may_leave_threads_at_work() -> None:
    """The interpreter would wait for them."""
    at_work = "from concurrent.futures import ThreadPoolExecutor; ThreadPoolExecutor().submit(time.sleep, 600)"
    assert run_in_a_command(f"{at_work}; from palmetto.cli import ending; ending.leave()") == (0, "")
