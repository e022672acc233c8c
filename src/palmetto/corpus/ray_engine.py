"""Tasks on a Ray cluster, through Ray Data (the extra `ray`).

The same functions run on the same tasks as in processes of one machine, and what they write is the same, byte for byte.
They hand each other files: the folder that a corpus is built in, and its sources, must lie on a file system that all
nodes of the cluster share under one path; and all nodes have the same Palmetto installed. Ray moves only tasks and
their small results.
"""

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from palmetto.corpus.engine import ATTEMPTS, Result, Task
from palmetto.corpus.extras import need
from palmetto.errors import RunStopped, UserError

_MOST_BLOCKS = 4096
_CONNECT_SECONDS = 10


class RayEngine:
    """A cluster: the one at RAY_ADDRESS, or one that runs on this machine, else one that is started here.

    A task takes a core. Where its worker or its node dies, the task is done again, elsewhere. Raises UserError if Ray
    is not installed, or there is no cluster at RAY_ADDRESS.
    """

    def __init__(self, workers: int | None = None) -> None:
        """workers: tasks at a time; null: as many as the cluster has cores."""
        self.workers = workers
        ray = need("ray", "ray")
        self._data = need("ray.data", "ray")
        if not ray.is_initialized():
            _connect(ray, workers)
        logging.getLogger("ray.data").setLevel(logging.ERROR)

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *error: object) -> None:
        """The connection stays: others in this process may use it."""

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See `Engine`; RunStopped if a task takes its worker with it three times, by lack of memory for one."""
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


def _connect(ray: Any, workers: int | None) -> None:
    # Ray tells its makers of its use unless told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"logging_level": "error", "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address is not None:
            _check(address)
        ray.init("auto", **quiet)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is not None:
            raise UserError(f"RAY_ADDRESS={address}: no cluster there that takes us ({str(error).splitlines()[0]}); "
                            "`ray start --head` starts one") from None  # fmt: skip
        ray.init("local", num_cpus=workers or len(os.sched_getaffinity(0)), include_dashboard=False, **quiet)


def _check(address: str) -> None:
    """OSError if nobody listens at HOST:PORT, which Ray itself takes a quarter of an hour to find."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


class _Refusal:
    """An error that is the user's to mend, on its way home."""

    def __init__(self, error: UserError) -> None:
        self.error = error


def _apply(row: dict[str, Any], function: Callable[[Any], Any]) -> dict[str, bytes]:
    task = pickle.loads(row["task"])
    try:
        # Ray Data would try for ever.
        if _attempts_before() >= ATTEMPTS:
            raise RunStopped(
                f"a worker died {ATTEMPTS} times at {task}: is there memory enough? fewer --workers take less"
            )
        result = function(task)
    except UserError as error:
        result = _Refusal(error)
    return {"result": pickle.dumps(result)}


def _attempts_before() -> int:
    """How often the running task was started before. Ray tells it in its internals only; where it does not, none."""
    from ray._private.worker import global_worker

    number: int = getattr(global_worker.core_worker, "get_current_task_attempt_number", lambda: 0)()
    return number
