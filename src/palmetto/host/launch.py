"""Starts the same command in several processes on this machine, which form one cluster."""

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

_VARIABLE = "PALMETTO_PROCESS"
"""Set to "PARENT HOST:PORT COUNT INDEX" in every process that `launch` starts."""

_MOST = 1024
"""The largest number of processes that a message suggests."""

_GRACE = 10.0
"""Seconds in which the first process may end by itself after another has failed, so that it can report the failure."""


def place(
    processes: int, distributed: bool, coordinator: str | None, count: int | None, index: int | None
) -> Cluster | None:
    """Returns this process's place in a cluster, given by `launch` or the command line, or None if it is alone.

    Raises UserError for options that are incomplete, that contradict each other (`processes` asks `launch` for a new
    cluster), or that hold an invalid address.
    """
    if _VARIABLE in os.environ:
        parent, coordinator, *numbers = os.environ[_VARIABLE].split()
        children.end_with(int(parent))
        return Cluster(coordinator, *map(int, numbers))
    given = {"--coordinator": coordinator, "--process-count": count, "--process-index": index}
    if processes > 1 and (distributed or any(value is not None for value in given.values())):
        raise UserError(
            f"--processes {processes}: starts a cluster on this machine; --distributed, {', '.join(given)} join one "
            "that exists"
        )
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
    """Raises UserError unless the address is HOST:PORT. JAX would crash on some others, or wait for a minute."""
    address = re.fullmatch(r"(?:[\w.-]+|\[[\w.:%]+\]):([0-9]{1,5})", coordinator)
    if address is None:
        raise UserError(f"--coordinator {coordinator}: expected HOST:PORT, as in 10.0.0.1:8476 or [fe80::1]:8476")
    if not 1 <= int(address[1]) <= 65535:
        example = f"{coordinator.rpartition(':')[0]}:8476"
        raise UserError(f"--coordinator {coordinator}: expected a port from 1 to 65535, as in {example}")


def check(processes: int, devices: int) -> None:
    """Raises UserError unless the processes can divide the mesh's devices evenly."""
    if devices % processes:
        fits = " or ".join(str(n) for n in range(1, min(devices, _MOST) + 1) if devices % n == 0)
        larger = "" if processes & (processes - 1) else f", or a larger mesh, as in mesh.data={processes}"
        must = f"must divide the devices of the mesh ({devices})"
        raise UserError(f"--processes {processes}: {must}: {fits} would do{larger}")


def launch(count: int, command: Sequence[str], fine: Collection[int] = (0,)) -> int:
    """Runs `command` in `count` processes and returns an exit code.

    Only the first process writes to this terminal; standard error of the others is shown if one of them fails. Signals
    are forwarded to all. When a process ends with an exit code outside `fine`, the others are killed and that code is
    returned. Raises RunStopped if a signal ended a process.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    with signals.handled_by(forward), tempfile.TemporaryFile() as errors:
        try:
            for index in range(count):
                process = subprocess.Popen(
                    command,
                    env=os.environ | {_VARIABLE: f"{os.getpid()} {coordinator} {count} {index}"},
                    stdin=subprocess.DEVNULL if index else None,
                    stdout=subprocess.DEVNULL if index else None,
                    stderr=errors if index else None,
                )
                processes.append(process)
            return _wait(processes, fine, errors)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _wait(processes: "list[subprocess.Popen[bytes]]", fine: Collection[int], errors: IO[bytes]) -> int:
    """Waits until all processes have ended well, or until one has failed; returns the exit code."""
    first = processes[0]
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code is not None and code < 0:
                raise RunStopped(
                    f"process {index} of {len(codes)} was ended by {signal.Signals(-code).name}; the same command "
                    "resumes from the last checkpoint"
                )
            if code is not None and code not in fine:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if first.wait(_GRACE) > 0:
                        return first.returncode  # the first process has reported the failure itself
                errors.seek(0)
                sys.stderr.buffer.write(errors.read())
                return code
        if None not in codes:
            return max(code for code in codes if code is not None)
        time.sleep(0.05)


def this_command() -> list[str]:
    """Returns the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]
