"""Tests how processes join a cluster, and the one-line message if there is none."""

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

processes.PATIENCE, processes._NOTICE_AFTER = 2, 1
try:
    processes.join(Cluster(*eval(sys.argv[1])))
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def said(cluster: tuple[object, ...], platforms: str = "cpu") -> list[str]:
    """Returns the last lines that a process prints when it fails to join a cluster."""
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
def test_absent_processes_are_reported_after_a_wait(rank: int) -> None:
    waiting, absent = said(("127.0.0.1:9", 2, rank) if rank else ("127.0.0.1:0", 2, rank))
    assert waiting.startswith("waiting for the cluster's other processes at 127.0.0.1:")
    assert f"did not come together within 2 s (this is process {rank} of 2)" in absent


def test_the_absence_of_a_cluster_is_reported() -> None:
    (line,) = said(())
    assert "--distributed: no cluster of processes here" in line


def test_a_missing_pathways_library_is_reported() -> None:
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
    """Returns the addresses, in hex as in /proc/net/tcp, on which a process listens."""
    sockets = {os.readlink(f) for f in Path(f"/proc/{process}/fd").iterdir() if f.is_symlink()}
    tables = [Path(f"/proc/{process}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table.splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_processes_of_one_machine_listen_on_loopback_only() -> None:
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
            assert b"met\n" in process.stdout  # gloo prints its own lines first
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
def test_loopback_addresses_are_recognized(coordinator: str | None, expected: bool) -> None:
    assert processes.is_loopback(Cluster(coordinator, 2, 0)) == expected


ALIKE = """
import sys
from palmetto.errors import UserError
from palmetto.host.cluster import Cluster
from palmetto.parallel import processes

processes.join(Cluster(*eval(sys.argv[1])))
processes.check_alike("products XLA, threads 8")
try:
    processes.check_alike(f"products {sys.argv[2]}, threads 8")
except UserError as error:
    print(error)
"""


def test_processes_that_compute_with_other_bits_are_refused() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    together = [
        subprocess.Popen(
            [sys.executable, "-c", ALIKE, repr((address, 2, rank)), products],
            env=os.environ | {"XLA_FLAGS": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, products in enumerate(("native amx", "XLA"))
    ]
    for process in together:
        said, _ = process.communicate(timeout=120)
        assert "process 1 computes with products XLA, threads 8, process 0 with products native amx" in said
