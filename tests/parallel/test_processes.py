"""A process that would join a cluster where there is none says so in a line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from palmetto.host.cluster import Cluster
from palmetto.parallel import processes

JOIN = """
import sys
from palmetto.host.cluster import Cluster
from palmetto.errors import UserError
from palmetto.parallel import processes

processes.PATIENCE, processes._A_WHILE = 2, 1
try:
    processes.join(Cluster(*eval(sys.argv[1])))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def said(cluster: tuple[object, ...], platforms: str = "cpu") -> list[str]:
    """The last words of a process that is to be a part of it."""
    joining = subprocess.run(
        [sys.executable, "-c", JOIN, repr(cluster)],
        env={"JAX_PLATFORMS": platforms, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert joining.returncode == 2, joining.stderr
    return joining.stderr.splitlines()


@pytest.mark.parametrize("rank", [0, 1])
def test_others_that_do_not_come_are_waited_for_and_then_said_to_be_absent(rank: int) -> None:
    waiting, absent = said(("127.0.0.1:9", 2, rank) if rank else ("127.0.0.1:0", 2, rank))
    assert waiting.startswith("waiting for the cluster's other processes at 127.0.0.1:")
    assert f"did not come together within 2 s (this is process {rank} of 2)" in absent


def test_a_cluster_that_cannot_be_found_out_is_said_to_be_none() -> None:
    (line,) = said(())
    assert "--distributed: no cluster of processes here" in line


def test_pathways_without_its_library_is_named() -> None:
    (line,) = said((), platforms="proxy")
    assert line == "JAX_PLATFORMS=proxy: needs pathwaysutils, which is not installed"


MEET = """
import sys
from palmetto.host.cluster import Cluster
from palmetto.parallel import processes

processes.join(Cluster(*eval(sys.argv[1])))
processes.barrier("here")
print("met", flush=True)
sys.stdin.read()
"""


def listening(process: int) -> set[str]:
    """The addresses, in hex as in /proc/net/tcp, at which a process listens."""
    sockets = {os.readlink(f) for f in Path(f"/proc/{process}/fd").iterdir() if f.is_symlink()}
    tables = [Path(f"/proc/{process}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_processes_of_one_machine_listen_on_loopback_alone() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", MEET, repr((coordinator, 2, rank))],
            env=os.environ | {"XLA_FLAGS": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    try:
        for process in both:
            assert process.stdout is not None
            assert b"met\n" in process.stdout  # gloo has its own lines before that
        for addresses in (listening(process.pid) for process in both):
            assert addresses, "each takes connections of the other's collectives"
            assert all(address.endswith("0100007F") for address in addresses), addresses
    finally:
        for process in both:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("coordinator", "expected"),
    [
        ("127.0.0.1:80", True),
        ("[::1]:80", True),
        ("localhost:80", True),
        ("127.9.0.1:80", True),
        ("10.0.0.1:80", False),
        ("[fe80::1%eth0]:80", False),
        ("node-1:80", False),
        (None, False),
    ],
)
def test_an_address_of_this_machine_alone_is_known(coordinator: str | None, expected: bool) -> None:
    assert processes.is_loopback(Cluster(coordinator, 2, 0)) == expected
