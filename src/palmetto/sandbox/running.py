"""Runs a program that somebody else wrote, such as a model, where it can harm nothing."""

import functools
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from palmetto.errors import UserError

SECONDS, MEMORY, OUTPUT, WAITING = 3, 512 * 2**20, 64 * 2**10, 30.0

Ending = Literal["passed", "failed", "time", "output", "killed"]

_SOURCE = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path.append(sys.argv.pop()); from palmetto.sandbox.jail import main; main()"
_SWITCHES = ("-S", "-s", "-P", "-B")
"""Neither packages nor folders of the user's, and no compiled modules written."""
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
"""All that a program finds in its environment; sets of texts have one order."""
_CPU_TIME_IS_UP = -24
"""The exit status of a process that SIGXCPU ended."""


class Outcome(NamedTuple):
    """Holds what became of a program."""

    passed: bool
    """True if the program ran to its last line, without an error and without leaving before."""
    ending: Ending
    """The way it ended: `failed` means an error or leaving early, `killed` a signal, such as that of a crash."""
    output: str
    """The text that it wrote to standard output and standard error, up to the limit."""


def run(
    code: str,
    *,
    seconds: int = SECONDS,
    memory: int = MEMORY,
    output: int = OUTPUT,
    waiting: float = WAITING,
    confined: bool = True,
) -> Outcome:
    """Runs a Python program in the jail, and returns what became of it.

    seconds: of the processor, so that a busy machine changes little. memory: bytes of address space. output: the most
    bytes that it may write. waiting: the most seconds on the clock, for programs that sleep.
    confined: whether there is a jail. A program without one can do whatever the user can; only its limits are left.
    Raises UserError, which names the part, if the kernel lacks one that the jail needs.
    """
    job = {"code": code, "seconds": seconds, "memory": memory, "confined": confined}
    written, report, ended = _start(job, output, waiting)
    if "lacking" in report:
        raise UserError(
            f"code cannot be run here: the kernel lacks, or does not allow, {report['lacking']}; expected Linux 5.13 "
            "or newer with user namespaces, Landlock, seccomp and /proc"
        )
    status = report.get("status")
    ending: Ending = "failed"
    if ended is not None:
        ending = ended
    elif report.get("passed"):
        ending = "passed"
    elif status == _CPU_TIME_IS_UP or report.get("seconds", 0) > seconds:
        ending = "time"
    elif status is None or status < 0:
        ending = "killed"
    return Outcome(ending == "passed", ending, written[:output].decode(errors="replace"))


@functools.cache
def require() -> None:
    """Raises UserError if programs cannot be run here; it names the part that the kernel lacks, if that is why."""
    outcome = run("")
    if not outcome.passed:
        raise UserError(f"code cannot be run here: an empty program did not pass ({outcome.ending}): {outcome.output}")


def _start(job: dict[str, Any], output: int, waiting: float) -> tuple[bytes, dict[str, Any], Ending | None]:
    """Returns what a program wrote, the jail's report, and which limit ended it, if one of ours did."""
    if sys.platform != "linux":
        return b"", {"lacking": f"what Linux has ({sys.platform})"}, None
    with tempfile.TemporaryDirectory(prefix="palmetto-") as folder, tempfile.TemporaryFile() as given:
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as report:
            try:
                job = {**job, "folder": folder, "report": writer, "parent": os.getpid()}
                given.write(json.dumps(job).encode())
                given.seek(0)
                process = subprocess.Popen(
                    [sys.executable, *_SWITCHES, "-c", _START, str(_SOURCE)],
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=_ENVIRONMENT,
                    cwd="/",
                    pass_fds=[writer],
                    start_new_session=True,
                )
            finally:
                os.close(writer)
            assert process.stdout is not None
            with process:
                try:
                    return _collect(process.stdout, report, output, time.monotonic() + waiting)
                finally:
                    process.kill()
                    while process.stdout.read(OUTPUT):  # the program ends with the jail
                        pass


def _collect(
    written: IO[bytes], report: IO[bytes], output: int, deadline: float
) -> tuple[bytes, dict[str, Any], Ending | None]:
    """Reads output and report to their ends, or until a limit."""
    texts = {written.fileno(): b"", report.fileno(): b""}
    ended: Ending | None = None
    with selectors.DefaultSelector() as selector:
        for descriptor in texts:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map() and ended is None:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                ended = "time"
            for key, _ in ready:
                part = os.read(key.fd, OUTPUT)
                texts[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
            if len(texts[written.fileno()]) > output:
                ended = "output"
    told = dict[str, Any]()
    for line in texts[report.fileno()].splitlines():
        told |= json.loads(line)
    return texts[written.fileno()], told, ended
