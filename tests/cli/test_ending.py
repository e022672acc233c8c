"""How the command line ends: in one line, whenever Ctrl-C comes."""

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPTED = "palmetto: interrupted\n"

IN_A_COMMAND = """
import atexit, os, signal, sys, time
from palmetto.cli import app

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

@app.app.command()
def fall():
    sys.meta_path.insert(0, Finder())
    {command}

sys.argv[1:] = ["fall"]
app.main()
"""

BEFORE_IT = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from palmetto.__main__ import main
main()
"""


def ended(program: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert not done.stdout
    return done.returncode, done.stderr


def fall(command: str, module: str = "") -> tuple[int, str]:
    return ended(IN_A_COMMAND.format(command=command, module=module))


def test_an_interrupt_before_there_is_a_command_has_no_traceback() -> None:
    assert ended(BEFORE_IT) == (130, "")


@pytest.mark.parametrize("module", ["numpy", "jaxlib.mlir.ir"])
def test_an_interrupt_while_modules_are_imported_has_no_traceback(module: str) -> None:
    """In numpy C prints what it meets and goes on."""
    assert fall("import jax; time.sleep(60)", module) == (130, INTERRUPTED)


@pytest.mark.parametrize("command", ["interrupt()", "Late()"])
def test_an_interrupt_anywhere_is_a_line(command: str) -> None:
    """A destructor lets no error out."""
    assert fall(command) == (130, INTERRUPTED)


def test_an_interrupt_when_all_is_done_is_not_heard() -> None:
    assert fall("atexit.register(interrupt)") == (0, "")


STOPPED = """
import os, signal, sys
from palmetto.workflow import stages
from palmetto.cli import training
from palmetto.cli.app import main

def interrupt(*arguments):
    os.kill(os.getpid(), signal.SIGINT)

stages.check = stages.build_tokens = lambda *arguments: None
stages.train = lambda *arguments: False
stages.write_report = training.answer_summary = interrupt
sys.argv[1:] = [{command!r}, "quickstart", "--run", {run!r}]
main()
"""


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_second_interrupt_of_a_stopped_training_changes_nothing(command: str, tmp_path: Path) -> None:
    assert ended(STOPPED.format(command=command, run=str(tmp_path / "run"))) == (0, "")


def test_errors_of_the_system_name_the_file() -> None:
    assert fall("open('/nowhere/x.txt')") == (2, "palmetto: /nowhere/x.txt: No such file or directory\n")


def test_an_error_of_ours_waits_for_nothing_at_the_exit() -> None:
    """As JAX does there for a cluster's other processes."""
    code, said = fall("atexit.register(time.sleep, 600); raise AssertionError('ours')")
    assert code == 1
    assert said.endswith("AssertionError: ours\n")
