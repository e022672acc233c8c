"""The same command in several processes on this machine, which then make one cluster."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from types import FrameType
from typing import IO

from palmetto.errors import RunStopped, UserError
from palmetto.host import children, signals
from palmetto.host.cluster import Cluster

_MARK = "PALMETTO_PROCESS"
"""PARENT HOST:PORT COUNT INDEX of a process that `launch` has started."""

_MOST = 1024
"""Processes that one machine is advised to start."""

_GRACE = 10.0
"""Seconds that the first has to end by itself once another has failed, so that it can say what all have seen."""


def place(
    processes: int, distributed: bool, coordinator: str | None, count: int | None, index: int | None
) -> Cluster | None:
    """This process's place in a cluster: as `launch` or the command line has it; None where it is alone.

    UserError for half an answer, for two (`processes` are what `launch` is to start), and for an address that is none.
    """
    if _MARK in os.environ:
        parent, coordinator, *numbers = os.environ[_MARK].split()
        children.end_with(int(parent))
        return Cluster(coordinator, *map(int, numbers))
    given = {"--coordinator": coordinator, "--process-count": count, "--process-index": index}
    if processes > 1 and (distributed or any(value is not None for value in given.values())):
        raise UserError(f"--processes {processes}: starts a cluster on this machine; --distributed, {', '.join(given)} "
                        "join one that is there")  # fmt: skip
    missing = [option for option, value in given.items() if value is None]
    if len(missing) == len(given):
        return Cluster() if distributed else None
    if missing:
        raise UserError(f"{', '.join(missing)}: missing; a cluster's place takes {', '.join(given)}")
    assert coordinator is not None
    assert count is not None
    assert index is not None
    _check_address(coordinator)
    if index >= count:
        raise UserError(f"--process-index {index}: expected 0 to {count - 1}, as there are {count} processes")
    return Cluster(coordinator, count, index)


def _check_address(coordinator: str) -> None:
    """UserError unless it is HOST:PORT: JAX crashes on some others, and waits a minute for the rest."""
    address = re.fullmatch(r"(?:[\w.-]+|\[[\w.:%]+\]):([0-9]{1,5})", coordinator)
    if address is None:
        raise UserError(f"--coordinator {coordinator}: expected HOST:PORT, as in 10.0.0.1:8476 or [fe80::1]:8476")
    if not 1 <= int(address[1]) <= 65535:
        raise UserError(f"--coordinator {coordinator}: expected a port from 1 to 65535, as in "
                        f"{coordinator.rpartition(':')[0]}:8476")  # fmt: skip


def check(processes: int, devices: int) -> None:
    """UserError unless each process gets as many of the mesh's devices."""
    if devices % processes:
        fits = " or ".join(str(n) for n in range(1, min(devices, _MOST) + 1) if devices % n == 0)
        larger = "" if processes & (processes - 1) else f", or a larger mesh, as in mesh.data={processes}"
        raise UserError(f"--processes {processes}: must divide the devices of the mesh ({devices}): {fits} would do"
                        f"{larger}")  # fmt: skip


def launch(count: int, command: Sequence[str], fine: Collection[int] = (0,)) -> int:
    """Runs `command` in `count` processes; the first is heard, of the others only why they failed.

    Signals go on to all. When one ends with an exit code that is not `fine` the others are ended too: it is returned,
    or RunStopped raised if a signal ended it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    with signals.heard_by(forward), tempfile.TemporaryFile() as unheard:
        try:
            for index in range(count):
                process = subprocess.Popen(
                    command,
                    env=os.environ | {_MARK: f"{os.getpid()} {coordinator} {count} {index}"},
                    stdin=subprocess.DEVNULL if index else None,
                    stdout=subprocess.DEVNULL if index else None,
                    stderr=unheard if index else None,
                )
                processes.append(process)
            return _watch(processes, fine, unheard)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _watch(processes: "list[subprocess.Popen[bytes]]", fine: Collection[int], unheard: IO[bytes]) -> int:
    first = processes[0]
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code is not None and code < 0:
                raise RunStopped(f"process {index} of {len(codes)} was ended by {signal.Signals(-code).name}; the same "
                                 "command goes on from the last checkpoint")  # fmt: skip
            if code is not None and code not in fine:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if first.wait(_GRACE) > 0:
                        return first.returncode  # which it has said itself
                unheard.seek(0)
                sys.stderr.buffer.write(unheard.read())
                return code
        if None not in codes:
            return max(code for code in codes if code is not None)
        time.sleep(0.05)


def this_command() -> list[str]:
    """The command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]
