"""Runs programs that do no harm, and looks at what they can reach and how they end."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.sandbox import running
from palmetto.sandbox.running import Outcome, require, run
from palmetto.sandbox.syscalls import ALLOWED


@pytest.fixture
def jail() -> None:
    try:
        require()
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("jail")
def test_a_program_may_compute_and_keep_files() -> None:
    code = """
import collections, dataclasses, datetime, hashlib, heapq, json, math, os, random, re, tempfile, time, typing
@dataclasses.dataclass
class Point:
    x: int
os.mkdir("folder")
with open("folder/file", "w") as file:
    file.write("π")
os.rename("folder/file", "other")
assert open("other").read() == "π" and os.listdir(".")
os.remove("other")
with tempfile.TemporaryFile(dir=".") as file:
    file.write(b"x")
time.sleep(0.01)
random.random(), hashlib.sha256(b"x").hexdigest(), datetime.datetime.now()
print(Point(math.isqrt(9)), __name__)
"""
    assert run(code) == Outcome(True, "passed", "Point(x=3) __main__\n")


@pytest.mark.skipif(sys.platform != "linux", reason="programs are run on Linux")
def test_without_a_jail_the_limits_hold() -> None:
    reach = "open('/proc/self/status').read(); print('read')"
    assert run(reach, confined=False) == Outcome(True, "passed", "read\n")
    assert run("import os; os._exit(0)", confined=False).ending == "failed"
    assert run("while True: pass", seconds=1, confined=False).ending == "time"
    assert not run("x = bytes(2**30)", confined=False).passed
    assert run("print('x' * 2**20)", confined=False).ending == "output"


@pytest.mark.usefixtures("jail")
def test_an_error_is_shown_with_its_line() -> None:
    outcome = run("x = 1\nassert x == 2, 'no'")
    assert (outcome.passed, outcome.ending) == (False, "failed")
    assert 'File "<program>", line 2' in outcome.output
    assert "AssertionError: no" in outcome.output
    assert not run("def f(:").passed
    assert not run("x = '\ud800'\0").passed


@pytest.mark.usefixtures("jail")
def test_sets_of_texts_have_one_order() -> None:
    assert len({run("print(set('abcdefgh'))").output for _ in range(3)}) == 1


@pytest.mark.usefixtures("jail")
def test_descriptors_and_environment_stay_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALMETTO_SECRET", "secret")
    (tmp_path / "file").write_text("secret")
    with (tmp_path / "file").open() as file:
        os.set_inheritable(file.fileno(), True)
        code = """
import os
print(sorted(os.environ))
for descriptor in range(3, 1024):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    print(descriptor)
print(os.read(0, 10))
"""
        outcome = run(code)
    assert outcome.passed, outcome
    assert outcome.output.splitlines() == ["['LANG', 'LC_CTYPE', 'PYTHONHASHSEED', 'PYTHONUTF8']", "b''"] or (
        outcome.output.splitlines() == ["['LANG', 'PYTHONHASHSEED', 'PYTHONUTF8']", "b''"]
    )


@pytest.mark.usefixtures("jail")
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("open('x', 'w').write('x')")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("jail")
def test_all_processes_end_with_their_parent() -> None:
    command = [sys.executable, "-m", "palmetto.sandbox", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        parent.stdin.write("import time; time.sleep(1000)")
        parent.stdin.close()
        below = list[int]()
        while len(below) < 2 and parent.poll() is None:
            below = _descendants(parent.pid)
            time.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(map(_lives, below)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(below) == 2
    assert not any(map(_lives, below))


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [each for child in children for each in (child, *_descendants(child))]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("jail")
def test_the_command_runs_a_file(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print(6 * 7)")
    command = [sys.executable, "-m", "palmetto.sandbox"]
    done = subprocess.run([*command, str(tmp_path / "program.py")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "42\n")
    done = subprocess.run([*command, "-"], input="1 / 0", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "the program did not pass: failed\n")
    assert subprocess.run([*command, str(tmp_path / "none.py")], capture_output=True).returncode == 2


@pytest.mark.usefixtures("jail")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("from palmetto.sandbox import landlock as part; part._CREATE = 999", "Landlock"),
        ("from palmetto.sandbox import seccomp as part; part._FILTER = 9", "seccomp"),
        ("from palmetto.sandbox import jail as part; part._NAMESPACES['user'] = 1", "user namespaces"),
        ("import platform; platform.machine = lambda: 's390x'", "seccomp for s390x"),
    ],
)
def test_what_the_kernel_lacks_is_named(change: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = running._START.replace("from palmetto.sandbox.jail", f"{change}; from palmetto.sandbox.jail")
    monkeypatch.setattr(running, "_START", start)
    with pytest.raises(UserError, match=f"the kernel lacks, or does not allow, {named}"):
        run("print('must not run')")


@pytest.mark.parametrize("machine", ALLOWED)
def test_system_calls_have_the_numbers_of_the_headers(machine: str) -> None:
    numbers = ALLOWED[machine]
    assert len(set(numbers.values())) == len(numbers)
    headers = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
    file = Path("/usr/include") / headers[machine]
    if not file.exists():
        pytest.skip(f"{file} is not there")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read_text())
    defined = {("newfstatat" if name == "fstatat" else name): int(number) for name, number in lines}
    assert {name: defined[name] for name in numbers} == numbers


@pytest.mark.usefixtures("jail")
def test_an_interpreter_that_does_not_start_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_START", "raise SystemExit('no modules')")
    assert run("") == Outcome(False, "killed", "no modules\n")
    require.cache_clear()
    with pytest.raises(UserError, match=r"an empty program did not pass .*no modules"):
        require()


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="darwin"):
        run("")


def test_the_sandbox_imports_little() -> None:
    code = "import sys, palmetto.sandbox.running; print(*(m for m in sys.modules if m.startswith('palmetto')))"
    told = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert set(told) == {"palmetto", "palmetto.errors", "palmetto.sandbox", "palmetto.sandbox.running"}
