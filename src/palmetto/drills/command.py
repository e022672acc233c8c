"""A process that a drill starts. It must do what is expected in time, and it ends with the drill."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from palmetto.drills.load import Load
from palmetto.drills.report import PromiseBroken, Undecided

DEADLINE = 300.0
"""The most seconds that a command may take, or that a drill waits for something while it runs."""

_GRACE = 20.0
"""Seconds in which a terminated command may end by itself and end the processes that it has started."""

Found = TypeVar("Found")


class Output(NamedTuple):
    """The output of a command, without the path of the drill's folder."""

    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line on standard error."""
        return self.err.strip().rpartition("\n")[2] or "without output"


class Command:
    """A Python program that runs from the beginning of its context; at the end of the context it is ended.

    Raises PromiseBroken if it does not do what is expected before the deadline, or Undecided if other programs kept the
    machine busy in that time.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, program: str, environment: Mapping[str, str], **options: Any
    ) -> None:
        """program: a Python text. folder: the folder in which it runs. options: those of Popen."""
        self._text, self._folder = " ".join(arguments), folder
        self._arguments = [sys.executable, "-P", "-c", program, *arguments]
        self._environment, self._options = environment, options

    def __enter__(self) -> "Command":
        """Starts the program."""
        self._process = subprocess.Popen(
            self._arguments,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **self._options,
        )
        self._load = Load(self._process.pid)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=_GRACE)
        finally:
            self._process.kill()
            self._process.communicate()  # waits, and closes the pipes

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_for(self, what: str, find: Callable[[], Found], pause: float = 0.001) -> Found | None:
        """Calls `find` every `pause` seconds and returns its first true value, or None if the command ends before.

        what: the name of the value in the message if it does not come in time.
        """
        deadline = time.monotonic() + DEADLINE
        while self.code is None:
            if found := find():
                return found
            if time.monotonic() > deadline:
                raise self._late(f"{what}? No: not within {DEADLINE:g} s")
            time.sleep(pause)
        return None

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()

    def end(self, *expected: int) -> Output:
        """Waits for the end of the command; returns its output.

        Raises PromiseBroken if its exit code is not one of those expected. Without any, every exit code is accepted.
        """
        try:
            out, err = self._process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise self._late(f"an end of `{self._text}`? No: it still runs after {DEADLINE:g} s") from None
        said = Output(*(stream.decode(errors="replace").replace(f"{self._folder}/", "") for stream in (out, err)))
        if expected and self.code not in expected:
            codes = " or ".join(map(_named, expected))
            raise PromiseBroken(f"{codes} of `{self._text}`? No: {_named(self.code)}, {said.last_line}")
        return said

    def _late(self, text: str) -> Exception:
        """Returns PromiseBroken for something that is late, or Undecided if the machine was busy."""
        if not self._load.is_heavy():
            return PromiseBroken(text)
        share = self._load.by_others()
        return Undecided(f"{text}, but other programs took {share:.0%} of the machine: run the drill when it is quiet")


def _named(code: int | None) -> str:
    return f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
