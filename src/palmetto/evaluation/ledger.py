"""The ledger of an evaluation, which holds a line for every request, exact to the bit.

A line has the ids of the context and of the continuation, and the log-probabilities of the continuation's tokens as hex
floats; that of a generated answer also says in which manner. The requests of an evaluation have one order, so a killed
evaluation goes on after the last whole line.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.decoding.request import GREEDY
from palmetto.decoding.sampling import Sampling
from palmetto.errors import UserError
from palmetto.evaluation.queries import Manner, Query
from palmetto.json_lines import JsonLines, read_json_lines


class Answer(NamedTuple):
    """Holds what the model answered to a query."""

    continuation_ids: tuple[int, ...]
    """The ids of the continuation, given or generated."""
    logprobs: tuple[float, ...]
    """The log-probability of each, in nats."""
    text: str
    """The text of the continuation, without [eod]."""


class Ledger:
    """Appends the lines of an evaluation after those that an earlier process has written."""

    def __init__(self, path: Path) -> None:
        """Reads the lines that are there; raises UserError if one is not JSON."""
        self._recorded = deque[Any](read_json_lines(path))
        self._file = JsonLines(path)
        self._number = 0

    def next_recorded(self, task: str, example: str, query: Query, manner: Manner) -> Answer | None:
        """Returns the recorded answer to the next query, or None after the last line.

        Raises UserError that names the line if it records another query.
        """
        if not self._recorded:
            return None
        line = self._recorded.popleft()
        self._number += 1
        try:
            same = _asked(task, example, query, manner).items() <= line.items()
            given = tuple(line["continuation_ids"]), tuple(map(float.fromhex, line["logprobs"]))
            answer = Answer(*given, line["answer"])
        except (AttributeError, KeyError, TypeError, ValueError):
            same = False
        if not same or (query.continuation_ids and answer.continuation_ids != query.continuation_ids):
            raise UserError(
                f"{self._file.path}: line {self._number} is not of this evaluation: expected example {example} of "
                f"{task}; remove the file, or write elsewhere with --out"
            )
        return answer

    def append(self, task: str, example: str, query: Query, manner: Manner, answer: Answer) -> None:
        """Writes the line of an answered query."""
        self._number += 1
        self._file.append(_asked(task, example, query, manner) | _given(answer))

    def close(self) -> None:
        """Makes all lines durable; raises UserError if lines are left that no query of this evaluation has."""
        if self._recorded:
            raise UserError(f"{self._file.path}: {len(self._recorded)} lines more than this evaluation has; remove it")
        self._file.close()


def manner_of(line: Mapping[str, Any]) -> Manner:
    """Returns how the answer of a line was generated; raises the errors of Python if it does not say so."""
    return Manner(tuple(line["stop"]), Sampling(**line.get("sampling", {})), line.get("beams", 0))


def _asked(task: str, example: str, query: Query, manner: Manner) -> dict[str, Any]:
    return {
        "task": task,
        "example": example,
        "option": query.option,
        "unconditional": query.unconditional,
        **query.digests,
        "ids": list(query.ids),
        "prefix": query.prefix,
        "truncated": query.truncated,
        "spans": query.spans,
        **({} if query.seed is None else {"seed": query.seed}),
        **(_manner(query, manner) if query.tokens else {}),
    }


def _manner(query: Query, manner: Manner) -> dict[str, Any]:
    """Returns the limits of an answer, with the beams or the settings of sampling that are not those of greedy ones."""
    limits = {"tokens": query.tokens, "stop": list(manner.stop)}
    if manner.beams:
        return limits | {"beams": manner.beams}
    if query.seed is None:
        return limits
    given, greedy = manner.sampling._asdict(), GREEDY._asdict()
    return limits | {"sampling": {name: value for name, value in given.items() if value != greedy[name]}}


def _given(answer: Answer) -> dict[str, Any]:
    return {
        "continuation_ids": list(answer.continuation_ids),
        "logprobs": [value.hex() for value in answer.logprobs],
        "answer": answer.text,
    }
