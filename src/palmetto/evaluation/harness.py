"""Runs tasks on a model. It writes a line of the ledger for each request, and returns an outcome for each example."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from palmetto.decoding.request import Request, Result
from palmetto.evaluation.judging import judge
from palmetto.evaluation.ledger import Answer, Ledger
from palmetto.evaluation.loading import Loaded
from palmetto.evaluation.queries import Manner, Query, Reader, ask, requests
from palmetto.evaluation.settings import Settings
from palmetto.evaluation.tasks.task import Example, Outcome

TOGETHER = 32
"""The number of examples whose requests the engine gets at a time. No score depends on it."""


class Answerer(Protocol):
    """Answers requests, each as if it were alone: the engine of `decoding`."""

    def run(self, requests: Sequence[Request]) -> list[list[Result]]:
        """Returns the results of all requests, each with its choices in order."""


class Asked(NamedTuple):
    """Holds an example with what is asked of the model about it."""

    id: str
    example: Example
    queries: list[Query]


def evaluate(
    loaded: Loaded,
    engine: Answerer,
    reader: Reader,
    ledger: Ledger,
    settings: Settings,
) -> Iterator[Outcome]:
    """Yields the outcomes of a task's examples."""
    task, manner = loaded.task, Manner(loaded.task.stop, loaded.task.sampling, settings.beams)
    request = requests(manner, reader.vocabulary)
    for group in _groups(loaded, reader, settings):
        answers = iter(_answers(task.name, manner, group, request, engine, reader, ledger))
        for id, example, queries in group:
            given = [next(answers) for _ in queries]
            logprobs, texts = [each.logprobs for each in given], [each.text for each in given]
            yield judge(task, id, example, queries, logprobs, texts)


def _groups(loaded: Loaded, reader: Reader, settings: Settings) -> Iterator[list[Asked]]:
    count = len(loaded.examples[: settings.limit])
    for start in range(0, count, TOGETHER):
        group = []
        for place in range(start, min(start + TOGETHER, count)):
            example, seeds = loaded.examples[place], settings.seeds(loaded.task, str(place))
            queries = ask(loaded.task, example, loaded.shots(place, settings.shots, settings.seed), reader, seeds)
            group.append(Asked(str(place), example, queries))
        yield group


def _answers(
    task: str,
    manner: Manner,
    group: list[Asked],
    request: Callable[[Query], Request],
    engine: Answerer,
    reader: Reader,
    ledger: Ledger,
) -> list[Answer]:
    """Returns the answers to all queries of a group, in order: those on record first, then the engine's."""
    pairs = [(asked.id, query) for asked in group for query in asked.queries]
    answers = list[Answer]()
    for id, query in pairs:
        if (recorded := ledger.next_recorded(task, id, query, manner)) is None:
            break
        answers.append(recorded)
    rest = pairs[len(answers) :]
    results = run_all([query for _, query in rest], request, engine)
    for (id, query), result in zip(rest, results, strict=True):
        answer = answer_of(query, result, reader)
        ledger.append(task, id, query, manner, answer)
        answers.append(answer)
    return answers


def run_all(queries: Sequence[Query], request: Callable[[Query], Request], engine: Answerer) -> list[Result]:
    """Returns the engine's result for each query, in order; queries that ask the same are computed once."""
    # Options of several examples often share an unconditional likelihood.
    keys = [(query.ids, query.continuation_ids, query.prefix, query.tokens, query.seed) for query in queries]
    of_each = dict[Any, Result]()
    for wave in _waves(dict(zip(keys, queries, strict=True))):
        results = engine.run([request(query) for query in wave.values()])
        of_each |= {key: only for key, (only,) in zip(wave, results, strict=True)}
    return [of_each[key] for key in keys]


def _waves(queries: dict[Any, Query]) -> tuple[dict[Any, Query], dict[Any, Query]]:
    """Returns the first query of each context, and the others, which find the context in the engine's cache."""
    first = {query.ids: key for key, query in reversed(queries.items())}
    leading = {key: query for key, query in queries.items() if first[query.ids] == key}
    return leading, {key: query for key, query in queries.items() if key not in leading}


def answer_of(query: Query, result: Result, reader: Reader) -> Answer:
    """Returns the engine's answer to a query: the scored end of its prompt, or the tokens that were generated."""
    tokens = result.tokens if query.tokens else result.prompt
    ids = tuple(token.id for token in tokens)
    logprobs = tuple(token.logprob for token in tokens if token.logprob is not None)
    assert len(ids) == len(logprobs), "every token after the first has a log-probability"
    return Answer(ids, logprobs, reader.text(ids) if query.tokens else query.continuation)
