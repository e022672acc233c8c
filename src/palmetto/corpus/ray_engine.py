"""Runs tasks on a Ray cluster with Ray Data (the extra `ray`).

The functions and tasks are those of the local engine, and the files written are the same, byte for byte. Tasks exchange
data through files: the corpus's folder and its sources must lie on a file system that all nodes share under the same
path, and every node needs the same Palmetto. Ray moves only tasks and their small results.
"""

import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from palmetto.corpus.engine import ATTEMPTS, Result, Task
from palmetto.corpus.extras import need
from palmetto.errors import RunStopped, UserError

_MOST_BLOCKS = 4096
_CONNECT_SECONDS = 10


class RayEngine:
    """Runs each task on one core of a cluster: at RAY_ADDRESS, or the last one started here, or a new local one.

    A task whose worker or node dies is run again elsewhere. Raises UserError if Ray is not installed or RAY_ADDRESS has
    no cluster.
    """

    def __init__(self, workers: int | None = None) -> None:
        """Connects to the cluster. workers: the number of tasks at a time, by default the number of the cluster's
        cores.
        """
        self.workers = workers
        connect(workers)
        self._data = need("ray.data", "ray")
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *error: object) -> None:
        """Leaves the connection open, because others in this process may use it."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks.

        Raises RunStopped if a task's worker dies three times, for example for lack of memory.
        """
        if not tasks:
            return
        context = self._data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = -1  # a task may take as long as it needs
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        results = self._data.from_items(rows, override_num_blocks=min(len(rows), _MOST_BLOCKS)).map(
            _apply, fn_kwargs={"function": function}, num_cpus=1, concurrency=self.workers
        )
        for row in results.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, _Refusal):
                raise result.error
            yield result


def connect(workers: int | None) -> Any:
    """Returns Ray, connected to the cluster at RAY_ADDRESS, to the last one started here, or to a new local one.

    workers: the number of cores of a new one, by default all. Raises UserError if Ray is not installed or RAY_ADDRESS
    has no cluster.
    """
    ray = need("ray", "ray")
    if not ray.is_initialized():
        _connect(ray, workers)
    return ray


def _connect(ray: Any, workers: int | None) -> None:
    # By default Ray reports usage statistics to its developers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": "error", "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS") or None  # Ray takes an empty one for none
    # Not "auto": it would also try clusters of other users, for minutes if they want a token.
    if known := address or _last_started():
        try:
            _check(known)
            ray.init(known, **quiet)
            return
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if address is not None:
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"RAY_ADDRESS={address}: no cluster accepts the connection ({reason}); `ray start --head` starts "
                    "one"
                ) from None
    ray.init("local", num_cpus=workers or len(os.sched_getaffinity(0)), include_dashboard=False, **quiet)


def _last_started() -> str | None:
    """Returns the address of the last cluster started on this machine, which `ray start` leaves in a file.

    The file stays when the cluster is killed.
    """
    file = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "ray_current_cluster")
    return file.read_text().strip() if file.is_file() else None


def _check(address: str) -> None:
    """Raises OSError if nothing listens at HOST:PORT; Ray itself needs fifteen minutes to notice."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


class _Refusal:
    """A UserError on its way back to the caller."""

    def __init__(self, error: UserError) -> None:
        self.error = error


def _apply(row: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, bytes]:
    task = pickle.loads(row["task"])
    try:
        # Ray Data would retry forever.
        if _attempts_before() >= ATTEMPTS:
            raise RunStopped(
                f"a worker died {ATTEMPTS} times at {task}: is there enough memory? fewer --workers need less"
            )
        result = function(task)
    except UserError as error:
        result = _Refusal(error)
    return {"result": pickle.dumps(result)}


def _attempts_before() -> int:
    """Returns how often the running task was started before.

    Ray has this in its internals only; the result is 0 in versions that lack it.
    """
    from ray._private.worker import global_worker

    number: int = getattr(global_worker.core_worker, "get_current_task_attempt_number", lambda: 0)()
    return number
