"""A process's place in a cluster, given by the command line or by `launch`."""

import os
import re
import subprocess
import sys

import pytest

from palmetto.errors import RunStopped, UserError
from palmetto.host import launch
from palmetto.host.cluster import Cluster


def place(
    coordinator: str | None = None,
    count: int | None = None,
    index: int | None = None,
    *,
    processes: int = 1,
    distributed: bool = False,
) -> Cluster | None:
    return launch.place(processes, distributed, coordinator, count, index)


def test_a_process_is_alone_or_has_a_place() -> None:
    assert place() is None
    assert place(processes=2) is None, "the launcher itself is in no cluster"
    assert place(distributed=True) == Cluster()
    assert place("10.0.0.1:8476", 4, 3) == Cluster("10.0.0.1:8476", 4, 3)


@pytest.mark.parametrize(
    "address", ["localhost:1", "node-17.cluster.local:65535", "10.0.0.1:8476", "[fe80::1%eth0]:80"]
)
def test_valid_addresses_are_accepted(address: str) -> None:
    assert place(address, 2, 0) == Cluster(address, 2, 0)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "foo",
        "foo:",
        ":8476",
        "foo:bar",
        "foo:-1",
        "foo:123456",
        "foo bar:80",
        "http://foo:80",
        "fe80::1:80",
        "foo:8٤",
    ],
)
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(UserError, match=f"^--coordinator {re.escape(address)}: expected HOST:PORT, as in [^\n]*$"):
        place(address, 2, 0)


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_an_invalid_port_is_refused_with_a_valid_one(port: int) -> None:
    with pytest.raises(
        UserError, match=f"^--coordinator foo:{port}: expected a port from 1 to 65535, as in "
    ) as refused:
        place(f"foo:{port}", 2, 0)
    suggested = str(refused.value).rpartition(" ")[2]
    assert place(suggested, 2, 0) == Cluster(suggested, 2, 0)


def test_incomplete_and_contradictory_places_are_refused() -> None:
    with pytest.raises(UserError, match=r"^--process-count, --process-index: missing"):
        place("foo:80")
    with pytest.raises(UserError, match=r"^--coordinator: missing"):
        place(None, 2, 0)
    with pytest.raises(UserError, match=r"^--process-index 2: expected 0 to 1"):
        place("foo:80", 2, 2)
    with pytest.raises(UserError, match=r"^--processes 2: starts a cluster on this machine"):
        place("foo:80", 2, 1, processes=2)
    with pytest.raises(UserError, match=r"^--processes 2: starts a cluster on this machine"):
        place(processes=2, distributed=True)


@pytest.mark.parametrize(
    ("processes", "devices", "says"),
    [(3, 4, "1 or 2 or 4 would do$"), (4, 2, "1 or 2 would do, or a larger mesh, as in mesh.data=4$")],
)
def test_processes_must_share_the_devices_evenly(processes: int, devices: int, says: str) -> None:
    launch.check(2, 4)
    with pytest.raises(UserError, match=rf"^--processes {processes}: must divide .* \({devices}\): {says}"):
        launch.check(processes, devices)


def launched(program: str, count: int = 2) -> int:
    """Launches `program`, in which `rank` is the index of its process; returns the exit code."""
    before = "import os, sys, time; rank = os.environ['PALMETTO_PROCESS'][-1]"
    return launch.launch(count, [sys.executable, "-c", f"{before}\n{program}"])


def test_all_processes_end_when_one_fails(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(launch, "_GRACE", 0.2)
    assert launched("if rank == '1': sys.exit('failed')\nprint('begun', flush=True); time.sleep(600)") == 1
    assert capfdbinary.readouterr().err.endswith(b"failed\n"), "otherwise only the first process is shown"


def test_a_process_that_a_signal_ended_is_named() -> None:
    with pytest.raises(RunStopped, match=r"^process 1 of 2 was ended by SIGKILL; "):
        launched("if rank == '1': os.kill(os.getpid(), 9)\ntime.sleep(600)")


def test_a_hangup_is_forwarded_to_all() -> None:
    """Each process ends with 0 when it receives the signal."""
    program = (
        "import signal; signal.signal(signal.SIGHUP, lambda number, frame: sys.exit(0)); "
        "os.kill(os.getppid(), signal.SIGHUP) if rank == '0' else None; time.sleep(600)"
    )
    again = "import time; from tests.host.test_launch import launched; sys.exit(launched({!r}, 1))"
    done = subprocess.run(
        [sys.executable, "-c", "import sys; " + again.format(program)], start_new_session=True, timeout=60, check=False
    )
    assert done.returncode == 0


def test_a_process_ends_if_its_launcher_has_ended() -> None:
    program = "from palmetto.host import launch; import time; launch.place(1, False, None, None, None); time.sleep(600)"
    environment = os.environ | {"PALMETTO_PROCESS": f"{os.getppid()} 127.0.0.1:80 2 1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False)
    assert done.returncode == 1
