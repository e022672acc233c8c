"""The load of other programs is told from a process's own work."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palmetto.drills import load
from palmetto.drills.load import Load

SPINS = """
import subprocess, sys, time
if sys.argv[1:]:
    subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout)
while time.process_time() < 0.3:
    pass
print("done", flush=True)
sys.stdin.read()
"""

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the system does not say who has worked")


def test_the_time_of_children_counts_as_own_time() -> None:
    with subprocess.Popen([sys.executable, "-c", SPINS, SPINS], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == [b"done\n", b"done\n"]
        assert load._taken_by(process.pid) >= 0.55
        process.communicate()


def test_own_work_is_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors run for ten seconds and are busy for eight of their twenty seconds."""
    clock, busy = [100.0], [50.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(load, "_busy", lambda: busy[0])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    own = {1: 8.0, 2: 2.0}
    monkeypatch.setattr(load, "_taken_by", lambda pid: own[pid])
    worked, waited = Load(1), Load(2)
    clock[0], busy[0] = 110.0, 58.0
    assert worked.by_others() == 0
    assert waited.by_others() == pytest.approx(0.3)
    assert (worked.is_heavy(), waited.is_heavy()) == (False, True)


def test_the_busy_time_of_processors_grows() -> None:
    before = load._busy()
    assert before is not None
    spun = time.process_time() + 0.1
    while time.process_time() < spun:
        pass
    after = load._busy()
    assert after is not None
    assert after > before > 0
