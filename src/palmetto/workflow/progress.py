"""Progress of long work, shown as a live bar on a terminal and as log lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from palmetto.training.ledger import Line

if TYPE_CHECKING:
    from palmetto.corpus.engine import Engine

Task = TypeVar("Task")
Result = TypeVar("Result")
Say = Callable[[str], None]
"""Shows a message to the user."""

_LOG_SECONDS = 10.0


class Reporter:
    """Shows steps and messages on standard error, so that standard output stays the command's answer."""

    def __init__(self, name: str, total: int, *, quiet: bool = False) -> None:
        """Sets up the bar, from the first step shown to the last, `total`.

        With `quiet` nothing is shown, since another process shows the same.
        """
        self._console = Console(stderr=True, quiet=quiet)
        self._quiet = quiet
        self._name, self._total, self._last_log = name, total, 0.0
        self._live = self._console.is_terminal and not quiet
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
        self._task = self._bar.add_task(name, total=total, figures="compiling")
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def step(self, line: Line, tokens_per_second: float | None = None, mfu: float | None = None) -> None:
        """Shows a finished step, with its throughput and MFU if given."""
        figures = f"loss {line.loss:.3f}"
        if tokens_per_second is not None and mfu is not None:
            figures += f"  {tokens_per_second:,.0f} tokens/s  MFU {mfu:.1%}"
        now = time.monotonic()
        if self._first is None:  # the rate excludes compilation and the steps before a resume
            self._first = line.step, now
            self._bar.reset(self._task, total=self._total, completed=line.step, figures=figures)
        self._bar.update(self._task, completed=line.step, figures=figures)
        if not (self._live or self._quiet) and (now - self._last_log >= _LOG_SECONDS or line.step == self._total):
            self._last_log = now
            taken, seconds = line.step - self._first[0], now - self._first[1]
            eta = f"  ETA {(self._total - line.step) * seconds / taken:.0f} s" if taken > 0 else ""
            text = f"{figures}  gradient {line.grad_norm:.3g}  rate {line.learning_rate:.3g}{eta}"
            print(f"{self._name}: step {line.step}/{self._total}  {text}", file=sys.stderr, flush=True)

    def message(self, text: str) -> None:
        """Shows a message to the user."""
        if self._live:
            self._console.print(text, highlight=False, markup=False)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


class Watch:
    """Shows the progress of work in several parts, each of many tasks (palmetto.corpus.engine)."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._last_log = time.monotonic()

    def __enter__(self) -> "Watch":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Shows a message to the user."""
        if self._live:
            self._console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def engine(self, engine: "Engine", part: str) -> "Engine":
        """Returns the engine wrapped so that its tasks are shown as a part of the work."""
        return _Watched(self, engine, part)

    def follow(self, part: str, total: int, results: Iterable[Result]) -> Iterator[Result]:
        """Yields the results as they arrive, and shows how many of `total` are done."""
        bar = self._bar.add_task(part, total=total)
        for done, result in enumerate(results, 1):
            self._bar.update(bar, completed=done)
            now = time.monotonic()
            if not self._live and now - self._last_log >= _LOG_SECONDS:
                self._last_log = now
                print(f"{part}: {done:,} of {total:,}", file=sys.stderr, flush=True)
            yield result
        self._bar.remove_task(bar)


class _Watched:
    """Wraps an engine to show its progress."""

    def __init__(self, watch: Watch, engine: "Engine", part: str) -> None:
        self._watch, self._engine, self._part = watch, engine, part

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results of the engine."""
        return self._watch.follow(self._part, len(tasks), self._engine.map(function, tasks))
