"""Runs tasks, by default in a pool of this machine's processes; ray_engine.py runs them on a Ray cluster."""

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
"""The number of times that a task is started if its worker dies."""


class Engine(Protocol):
    """Runs one function on many tasks."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks.

        `function` and tasks must be picklable. A task may run more than once if its worker dies.
        """
        ...


class LocalEngine:
    """Runs each task in one of `workers` processes of this machine, so at most `workers` tasks use memory at a time.

    The processes start with the first tasks, serve later ones, and end with the engine's context or this process.
    """

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
        """Yields the results in the order of the tasks.

        Raises RunStopped if a task's worker dies three times, for example for lack of memory.
        """
        if len(tasks) <= 1 or self.workers == 1:
            yield from map(function, tasks)
            return
        done, attempts = 0, 0
        while done < len(tasks):
            try:
                # The last attempt runs alone, because any of the tasks beside it may have killed the worker.
                for result in self._map_once(
                    function, tasks[done : done + 1] if attempts == ATTEMPTS - 1 else tasks[done:]
                ):
                    yield result
                    done, attempts = done + 1, 0
            except BrokenProcessPool:
                self._pool = None
                attempts += 1
                if attempts == ATTEMPTS:
                    raise RunStopped(
                        f"a worker died {ATTEMPTS} times at {tasks[done]}: is there enough memory? "
                        "fewer --workers need less"
                    ) from None

    def _map_once(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Submits two tasks per worker and then one for each result, so waiting tasks hold no memory and errors show
        soon.
        """
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
    """Makes a worker end with its parent; if that was killed, the worker would wait forever and keep its inherited
    files open.

    On Ctrl-C, which a terminal sends to all processes, the worker ends at once: if it unwound while it reads a task,
    the next worker would read the rest of that task.
    """
    signal.signal(signal.SIGINT, lambda number, frame: _end())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        _end()

    threading.Thread(target=wait, daemon=True).start()


def _end() -> None:
    """Ends this process by a signal, which first removes the files that are half written."""
    os.kill(os.getpid(), signal.SIGTERM)
