"""How long work tells a person that it goes on: a live bar on a terminal, log lines elsewhere."""

import math
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from palmetto.training.ledger import Line

_LOG_SECONDS = 10.0


class Reporter:
    """Steps and messages on standard error, so that standard output stays the command's answer."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        """`total` steps to take the run to, of which `done` lie behind."""
        self._console = Console(stderr=True)
        self._name, self._total, self._last_log = name, total, 0.0
        self._live = self._console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task(name, total=total, completed=done, figures="compiling")
        self._started, self._first = time.monotonic(), done

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, line: Line, tokens_per_second: float | None = None, mfu: float | None = None) -> None:
        """One step is done."""
        figures = f"loss {line.loss:.3f}"
        if tokens_per_second is not None and mfu is not None:
            figures += f"  {tokens_per_second:,.0f} tokens/s  MFU {mfu:.1%}"
        self._bar.update(self._task, completed=line.step, figures=figures)
        now = time.monotonic()
        if not self._live and (now - self._last_log >= _LOG_SECONDS or line.step == self._total):
            self._last_log = now
            rate = (line.step - self._first) / max(now - self._started, 1e-9)
            left = (self._total - line.step) / rate if rate > 0 else math.inf
            eta = f"  ETA {left:.0f} s" if math.isfinite(left) else ""
            print(f"{self._name}: step {line.step}/{self._total}  {figures}  gradient {line.grad_norm:.3g}  "
                  f"rate {line.learning_rate:.3g}{eta}", file=sys.stderr, flush=True)  # fmt: skip

    def message(self, text: str) -> None:
        """Something a person should know."""
        if self._live:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)
