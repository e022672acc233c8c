"""A pod's process as its client sees it."""

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
"""A ready pod has its programs compiled; a living one has the state as well and takes part in steps."""

_LAST_WORDS = 0.5
"""Seconds that a process whose link is lost has to end by itself, so that one can tell what it died of."""


class PodProcess:
    """One life of a pod."""

    def __init__(self, number: int, life: int, log: Path, order: Mapping[str, Any], command: Sequence[str]) -> None:
        """Starts it: `order` is what it reads first (see client.py); what it says goes to `log`."""
        self.number, self.life = number, life
        self.stage: Stage = "starting"
        self.link: Link | None = None
        self.linked = False
        """Whether it has made links to the other pods."""
        self.port = 0
        """Where it takes links from other pods."""
        self.steps = 0
        """That it has taken part in."""
        self.request = 0
        """The number of what it was asked last."""
        self.answer: Message | None = None
        """To that."""
        self.state = Delivery([])
        """Where its state arrives, once it was asked for it."""
        self._log, self._started = log, time.monotonic()
        # A pod that comes back, and one of the same shape, need not compile what has been compiled.
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(log.parent.absolute() / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                env=cache | os.environ,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,  # an interrupt from the keyboard is for the client, which finishes its step
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already, which will be noticed
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    @property
    def silence(self) -> float:
        """Seconds since it was last heard, or since it was started."""
        return time.monotonic() - (self.link.heard if self.link else self._started)

    def ends_by_itself(self) -> bool:
        """Whether it is no more, or about to end; waits a moment for it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_LAST_WORDS)
        return self.has_ended

    def end(self, why: str) -> str:
        """Ends it for good, so that it cannot come back with what is out of date; returns what it died of.

        `why`: what there is to say unless it has ended by itself.
        """
        self.stage = "lost"
        code = self._process.poll() if self.ends_by_itself() else None
        if self.link:
            self.link.close()
        self._process.kill()  # also one that is stopped
        self._process.wait()
        if code is None:
            return why
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}: {self._last_line()} ({self._log})"

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"
