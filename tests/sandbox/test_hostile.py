"""Runs hostile programs as this user, and as another if this one is root."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import palmetto
from palmetto.errors import UserError
from palmetto.sandbox.running import require, run
from tests.sandbox.programs import PROGRAMS

SOURCE = Path(palmetto.__file__).parents[1]
AS_ANOTHER = """
import json, sys
from palmetto.sandbox.running import run
json.dump([run(code, **limits) for code, limits in json.load(sys.stdin)], sys.stdout)
"""
LIMITS: dict[str, int | float] = {"seconds": 1, "memory": 256 * 2**20, "output": 4096}


@pytest.fixture(autouse=True)
def _jail() -> None:
    try:
        require()
    except UserError as error:
        pytest.skip(str(error))


def limits(name: str) -> dict[str, int | float]:
    return LIMITS | ({"waiting": 2.0} if name == "sleep" or name.startswith("wait") else {})


@pytest.mark.parametrize("name", PROGRAMS)
def test_hostile_programs_get_nothing(name: str) -> None:
    hostile = PROGRAMS[name]
    outcome = run(hostile.code, **limits(name))  # type: ignore[arg-type]
    assert (outcome.passed, outcome.ending) == (False, hostile.ending), outcome
    assert hostile.shown in outcome.output
    assert not Path("/tmp/palmetto-was-here").exists()


@pytest.mark.slow
def test_hostile_programs_get_nothing_as_another_user() -> None:
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs root, who becomes another user by setpriv")
    python = next((path for path in ("/usr/bin/python3", "/usr/local/bin/python3") if _starts(path)), None)
    if python is None:
        pytest.skip("needs Python 3.11 or newer, and this source, where another user can read them")
    jobs = [(hostile.code, limits(name)) for name, hostile in PROGRAMS.items()]
    told = _as_nobody(python, AS_ANOTHER, json.dumps(jobs))
    outcomes = json.loads(told.stdout)
    for (name, hostile), (passed, ending, output) in zip(PROGRAMS.items(), outcomes, strict=True):
        assert (name, passed, ending) == (name, False, hostile.ending), output
        assert hostile.shown in output, name


def _starts(python: str) -> bool:
    code = "import sys, palmetto.sandbox.running; assert sys.version_info >= (3, 11)"
    return shutil.which(python) is not None and not _as_nobody(python, code, "").returncode


def _as_nobody(python: str, code: str, given: str) -> "subprocess.CompletedProcess[str]":
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    return subprocess.run(
        [*become, python, "-c", code],
        input=given,
        capture_output=True,
        text=True,
        cwd="/",
        env={"PYTHONPATH": str(SOURCE)},
    )
