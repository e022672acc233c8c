"""Tests that the local engine yields results in order, whatever happens to its workers."""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.extras import need
from palmetto.corpus.ray_engine import connect
from palmetto.errors import RunStopped, UserError
from palmetto.files import atomic


def square(number: int) -> int:
    time.sleep(0.1 if number == 0 else 0)  # the first is ready last
    return number * number


def own_id(number: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def alive(process: int) -> bool:
    """Returns whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def die_once(folder: Path, number: int) -> int:
    """Kills its worker when the fourth task runs for the first time."""
    marker = folder / "died"
    if number == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_always(folder: Path, number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    (folder / str(number)).touch()
    return number


def refuse(number: int) -> int:
    if number == 3:
        raise UserError("number 3: not a number to like")
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    engine = LocalEngine(workers)
    assert list(engine.map(square, range(9))) == [n * n for n in range(9)]
    assert list(engine.map(square, [])) == []


def test_a_task_is_done_again_where_its_worker_died(tmp_path: Path) -> None:
    assert list(LocalEngine(2).map(functools.partial(die_once, tmp_path), range(8))) == list(range(8))
    assert (tmp_path / "died").exists()


def test_a_task_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    results = LocalEngine(2).map(functools.partial(die_always, tmp_path), range(8))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RunStopped, match="a worker died 3 times at 3: is there enough memory"):
        next(results)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_where_its_result_would(workers: int) -> None:
    results = LocalEngine(workers).map(refuse, range(50))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="number 3"):
        next(results)


def test_workers_live_as_long_as_the_engine() -> None:
    with LocalEngine(2) as engine:
        first = {*engine.map(own_id, range(8))}
        both = first | {*engine.map(own_id, range(8))}
        assert len(both) <= 2, "no others were started"
        assert os.getpid() not in first
    assert not any(alive(process) for process in first)


def test_workers_end_with_a_parent_that_is_killed() -> None:
    program = """
from palmetto.corpus.engine import LocalEngine
from tests.corpus.test_engine import own_id
print(*{*LocalEngine(2).map(own_id, range(8))}, flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert workers
        assert all(alive(process) for process in workers)
        parent.kill()
        assert parent.stdout.read() == b"", "whoever holds the other end of the pipe lets go of it"
    deadline = time.monotonic() + 20
    while any(alive(process) for process in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def half_write(folder: Path, number: int) -> None:
    with atomic(folder / str(number)) as file:
        file.write(b"half")
        file.flush()
        time.sleep(600)


def test_workers_that_end_with_their_parent_leave_no_half_file(tmp_path: Path) -> None:
    program = """
import functools, sys
from collections.abc import Iterator
from pathlib import Path
from palmetto.corpus.engine import LocalEngine
from tests.corpus.test_engine import half_write
list(LocalEngine(2).map(functools.partial(half_write, Path(sys.argv[1])), range(2)))
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        while len(list(tmp_path.iterdir())) < 2:
            assert parent.poll() is None
            time.sleep(0.01)
        parent.terminate()
        assert parent.stdout.read() == b"", "the workers are gone as well"
    assert not list(tmp_path.iterdir())


def test_an_interrupt_is_reported_once() -> None:
    """Ctrl-C in a terminal reaches all processes: two workers are busy, one waits for tasks."""
    program = """
import time
from palmetto.corpus.engine import LocalEngine
from tests.corpus.test_engine import own_id
workers = set()
try:
    with LocalEngine(3) as engine:
        while len(workers) < 3:
            workers |= {*engine.map(own_id, range(6))}
        for _ in engine.map(time.sleep, [0, 600, 600]):
            print("one", flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.communicate(timeout=60) == (b"interrupted\n", b"")


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address at which nothing listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{nobody.getsockname()[1]}"


def test_a_cluster_that_is_not_there_is_named(nowhere: str) -> None:
    """Runs in a process of its own, because Ray reads its authentication settings once and another test sets them."""
    pytest.importorskip("ray.data", reason="needs the extra `ray`")
    program = "from palmetto.corpus.ray_engine import RayEngine; RayEngine()"
    tried = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"RAY_ADDRESS": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(rf"UserError: RAY_ADDRESS={nowhere}: no cluster accepts the connection .*refused", tried.stderr), (
        tried.stderr
    )


def test_a_cluster_that_nobody_named_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's "auto" looks for any on the machine, and tries for minutes one that wants a token."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    addresses = list[str]()
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda address, **options: addresses.append(address))
    connect(1)
    assert addresses == ["local"]


@pytest.mark.slow
def test_a_cluster_that_was_killed_is_passed_over(nowhere: str) -> None:
    pytest.importorskip("ray.data", reason="needs the extra `ray`")
    program = "from palmetto.corpus.ray_engine import connect; print(connect(1).cluster_resources()['CPU'])"
    with tempfile.TemporaryDirectory() as folder:  # shorter than tmp_path: Ray's sockets lie in it
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text(nowhere)
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        tried = subprocess.run(
            [sys.executable, "-c", program],
            env=environment | {"RAY_TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=240,  # Ray itself tries for longer
        )
    assert tried.stdout == "1.0\n"


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"^ray: needs the extra `ray`: .*(make|install)"):
        need("ray", "ray")
    assert need("json") is sys.modules["json"]
