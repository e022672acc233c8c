"""A process that would join a cluster where there is none says so in a line."""

import subprocess
import sys

import pytest

JOIN = """
import sys
from palmetto.cluster import Cluster
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
