"""Where tasks run: a pool of this machine's processes by default, or a Ray cluster (ray_engine.py)."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from palmetto.errors import RunStopped

Task = TypeVar("Task")
Result = TypeVar("Result")
ATTEMPTS = 3
"""How often a task is begun whose worker dies."""


class Engine(Protocol):
    """Runs one function on many tasks."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """The results in the order of the tasks, whoever is ready first. `function` and tasks can be pickled; a task
        may run more than once, where a worker died."""
        ...


class LocalEngine:
    """Processes of this machine, a task each at a time, so that memory is what `workers` tasks take. They are started
    by the first tasks, stay for those that come later, and end with the engine's context or this process."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or len(os.sched_getaffinity(0))
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Engine`; RunStopped if a task takes its worker with it three times, by lack of memory for one."""
        if len(tasks) <= 1 or self.workers == 1:
            yield from map(function, tasks)
            return
        done, attempts = 0, 0
        while done < len(tasks):
            try:
                # At last alone: any of those that ran beside it may have been the one.
                for result in self._map_once(
                    function, tasks[done : done + 1] if attempts == ATTEMPTS - 1 else tasks[done:]
                ):
                    yield result
                    done, attempts = done + 1, 0
            except BrokenProcessPool:
                self._pool = None
                attempts += 1
                if attempts == ATTEMPTS:
                    raise RunStopped(f"a worker died {ATTEMPTS} times at {tasks[done]}: is there memory enough? "
                                     "fewer --workers take less") from None  # fmt: skip

    def _map_once(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Two tasks a worker are handed out, not all: what waits takes no memory, and a failure shows soon."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _end_with_parent)
        pool, waiting, running = self._pool, iter(tasks), deque[Future[Result]]()
        try:
            running.extend(pool.submit(function, task) for task in itertools.islice(waiting, 2 * self.workers))
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(function, task) for task in itertools.islice(waiting, 1))
        finally:
            for future in running:
                future.cancel()


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it would wait for tasks for ever, and hold the files it has inherited.

    Ctrl-C, which a terminal sends to all of them, ends it at once: one that unwound in the middle of reading a task
    would leave the rest of it to the next worker.
    """
    signal.signal(signal.SIGINT, lambda number, frame: _end())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        _end()

    threading.Thread(target=wait, daemon=True).start()


def _end() -> None:
    """Ends this process by a signal that first removes the files that are half written."""
    os.kill(os.getpid(), signal.SIGTERM)
