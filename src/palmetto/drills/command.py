"""A process that a drill has started: whether it does in time what it should, and that it ends with the drill."""

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
"""Seconds that a command may take, and whatever is waited for while it runs."""

_GRACE = 20.0
"""Seconds that one has, once it is not wanted any more, to end by itself and end what it has started."""

Found = TypeVar("Found")


class Said(NamedTuple):
    """What a command printed, the path of the drill's folder left out."""

    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line on standard error."""
        return self.err.strip().rpartition("\n")[2] or "without a word"


class Command:
    """Python's `program` with arguments, at work in a folder; as a context it is over at the context's end.

    PromiseBroken tells of what it does otherwise than expected, or not by the deadline; Undecided of what was not done
    by then on a machine that others kept busy.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, program: str, environment: Mapping[str, str], **options: Any
    ) -> None:
        """`options` are Popen's."""
        self._text, self._folder = " ".join(arguments), folder
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        self._load = Load(self._process.pid)

    def __enter__(self) -> "Command":
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
        """What `find` finds, called every `pause` seconds, as soon as that is true; None where the command ends first.

        `what` names it should it not come in time.
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
        """Kill -9."""
        self._process.kill()

    def end(self, *expected: int) -> Said:
        """Waits until it is over; its exit code must be one of those expected, of which none is any."""
        try:
            out, err = self._process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise self._late(f"an end of `{self._text}`? No: it still runs after {DEADLINE:g} s") from None
        said = Said(*(stream.decode(errors="replace").replace(f"{self._folder}/", "") for stream in (out, err)))
        if expected and self.code not in expected:
            codes = " or ".join(map(_named, expected))
            raise PromiseBroken(f"{codes} of `{self._text}`? No: {_named(self.code)}, {said.last_words}")
        return said

    def _late(self, text: str) -> Exception:
        """Returns the verdict on what did not come in time: a broken promise, or none on a busy machine."""
        if not self._load.is_heavy():
            return PromiseBroken(text)
        share = self._load.by_others()
        return Undecided(f"{text}, but other programs took {share:.0%} of the machine: run the drill when it is quiet")


def _named(code: int | None) -> str:
    return f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
