"""Answers requests on the nodes of a Ray cluster (the extra `ray`).

Each worker holds the checkpoint and an engine. An answer depends on its request alone, so the ledger has the same bytes
as that of one machine. The run directory must lie on a file system that all nodes share under the same path.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from palmetto.corpus.engine import ATTEMPTS
from palmetto.corpus.ray_engine import connect
from palmetto.decoding.request import Request, Result
from palmetto.errors import RunStopped, UserError
from palmetto.evaluation.model import EvaluatedModel

Opening = Callable[[], EvaluatedModel]


class RayEngine:
    """Spreads requests evenly over workers; one that dies is started again, and asked again."""

    def __init__(self, opening: Opening, identity: Mapping[str, Any], workers: int | None = None) -> None:
        """Starts the workers. opening: loads the checkpoint in a new process. identity: that of the model here.

        workers: their number, by default one for each node. Raises UserError if Ray is not installed, or if a node
        would give other bits.
        """
        self._ray = connect(None)
        count = workers or sum(node["Alive"] for node in self._ray.nodes())
        worker = self._ray.remote(_Worker).options(
            num_cpus=1, scheduling_strategy="SPREAD", max_restarts=ATTEMPTS - 1, max_task_retries=ATTEMPTS - 1
        )
        self._workers = [worker.remote(opening) for _ in range(count)]
        for other in self._get([worker.identity.remote() for worker in self._workers]):
            for key, value in identity.items():
                if other[key] != value:
                    raise UserError(
                        f"--engine ray: a node has {key} {other[key]}; expected {value}, as here: every node needs the "
                        "same Palmetto and the same kind of processor"
                    )

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        """Returns the results of all requests, each with its choices in order."""
        count = len(self._workers)
        ends = [len(requests) * part // count for part in range(count + 1)]
        parts = [requests[begin:end] for begin, end in itertools.pairwise(ends)]
        pairs = zip(self._workers, parts, strict=True)
        answered = self._get([worker.run.remote(part) for worker, part in pairs if part])
        return [results for part in answered for results in part]

    def _get(self, promised: Sequence[Any]) -> list[Any]:
        try:
            return self._ray.get(promised)
        except self._ray.exceptions.RayError as error:
            raise RunStopped(f"--engine ray: a worker died {ATTEMPTS} times: {error}") from None


class _Worker:
    """Holds the checkpoint and its engine in a process of the cluster."""

    def __init__(self, opening: Opening) -> None:
        self._model = opening()

    def identity(self) -> dict[str, Any]:
        return self._model.identity

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        return self._model.engine.run(requests)
