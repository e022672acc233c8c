"""A process of a pod, as the client sees it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from palmetto.pods.parcels import Delivery
from palmetto.pods.wire import Link, Message

COMMAND = (sys.executable, "-P", "-m", "palmetto.pods")

Stage = Literal["starting", "ready", "living", "lost"]
"""A ready pod has compiled its programs; a living one also holds the state and takes part in steps."""

_GRACE = 0.5
"""Seconds in which a process whose link is lost may end by itself, so that its exit code tells the reason."""


class PodProcess:
    """One process of a pod."""

    def __init__(self, number: int, life: int, log: Path, process: "subprocess.Popen[bytes]") -> None:
        """Takes a process that has just been started; see `start`."""
        self.number, self.life = number, life
        self.stage: Stage = "starting"
        self.link: Link | None = None
        self.linked = False
        """True if it has made links to the other pods."""
        self.port = 0
        """The port to which other pods connect."""
        self.steps = 0
        """The number of steps that it has taken part in."""
        self.request = 0
        """The number of the last request to it."""
        self.answer: Message | None = None
        """The answer to that request."""
        self.state = Delivery([])
        """The memory for its state, once it has been asked for it."""
        self._log, self._process, self._started = log, process, time.monotonic()

    @classmethod
    def start(cls, number: int, life: int, log: Path, order: Mapping[str, Any], command: Sequence[str]) -> "PodProcess":
        """Starts a process.

        number: the pod. life: the number of this process. log: the file for its output. order: the settings that it
        reads first (`Fleet.start`).
        """
        # A restarted pod, and another of the same shape, need not compile again.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(log.parent.absolute() / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                env=cache | os.environ,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C goes to the client only, which finishes its step
            )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already; `has_ended` will say so
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.close()
        return cls(number, life, log, process)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Returns whether the process has ended."""
        return self._process.poll() is not None

    @property
    def silence(self) -> float:
        """The seconds since its last message, or since its start if there was none."""
        return time.monotonic() - (self.link.heard if self.link else self._started)

    def ends_by_itself(self) -> bool:
        """Waits a moment for the process to end, and returns whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        return self.has_ended

    def end(self, why: str) -> str:
        """Kills the process, so that it cannot send outdated messages later.

        Returns how it ended if it ended by itself, and otherwise `why`.
        """
        self.stage = "lost"
        code = self._process.poll() if self.ends_by_itself() else None
        if self.link:
            self.link.close()
        self._process.kill()  # this also ends a process stopped by SIGSTOP
        self._process.wait()
        if code is None:
            return why
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}: {self._last_line()} ({self._log})"

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without output"
