"""Child processes end when their parent ends; see also tokens/test_training.py and test_launch.py."""

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys, time; from palmetto.host import children; children.end_with({}); time.sleep({}); sys.exit(7)"


@pytest.mark.parametrize(("is_parent", "seconds", "code"), [(True, 0.5, 7), (False, 600, 1)])
def test_a_process_lives_as_long_as_its_parent(is_parent: bool, seconds: float, code: int) -> None:
    parent = os.getpid() if is_parent else os.getppid()
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(parent, seconds)], timeout=60, check=False)
    assert done.returncode == code
