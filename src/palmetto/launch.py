"""The same command in several processes on this machine, which then make one cluster."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from palmetto.cluster import Cluster
from palmetto.errors import RunStopped, UserError

_MARK = "PALMETTO_PROCESS"
"""HOST:PORT COUNT INDEX of a process that `launch` has started."""


def place(distributed: bool, coordinator: str | None, count: int | None, index: int | None) -> Cluster | None:
    """This process's place in a cluster: as `launch` or the command line has it; None where it is alone.

    UserError for half an answer.
    """
    if _MARK in os.environ:
        coordinator, *numbers = os.environ[_MARK].split()
        return Cluster(coordinator, *map(int, numbers))
    given = {"--coordinator": coordinator, "--process-count": count, "--process-index": index}
    missing = [option for option, value in given.items() if value is None]
    if len(missing) == len(given):
        return Cluster() if distributed else None
    if missing:
        raise UserError(f"{', '.join(missing)}: missing; a cluster's place takes {', '.join(given)}")
    assert count is not None
    assert index is not None
    if index >= count:
        raise UserError(f"--process-index {index}: expected 0 to {count - 1}, as there are {count} processes")
    return Cluster(coordinator, count, index)


def check(processes: int, devices: int) -> None:
    """UserError unless each process gets as many of the mesh's devices."""
    if devices % processes:
        fits = " or ".join(str(n) for n in range(1, devices + 1) if devices % n == 0)
        raise UserError(f"--processes {processes}: must divide the devices of the mesh ({devices}): {fits} would do, "
                        f"or a larger mesh, as in mesh.data={1 << (processes - 1).bit_length()}")  # fmt: skip


def launch(count: int, command: Sequence[str]) -> int:
    """Runs `command` in `count` processes; the first is heard, of the others only why they failed.

    Signals go on to all. When one ends badly the others are ended too: its exit code is returned, or RunStopped raised
    if a signal ended it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    processes = []
    for index in range(count):
        quiet = {} if index == 0 else {"stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        environment = os.environ | {_MARK: f"{coordinator} {count} {index}"}
        processes.append(subprocess.Popen(command, env=environment, **quiet))  # type: ignore[call-overload]

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _watch(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch(processes: "list[subprocess.Popen[bytes]]") -> int:
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code is not None and code < 0:
                raise RunStopped(f"process {index} of {len(codes)} was ended by {signal.Signals(-code).name}; the same "
                                 "command goes on from the last checkpoint")  # fmt: skip
            if code:
                return code
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.05)


def this_command() -> list[str]:
    """The command line that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]
