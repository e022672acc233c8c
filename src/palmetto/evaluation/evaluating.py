"""Evaluates a model on tasks into a folder: the ledger, the outcomes, the results, and what they were made with."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.harness import Answerer, evaluate
from palmetto.evaluation.ledger import Ledger
from palmetto.evaluation.loading import Loaded, digest, load
from palmetto.evaluation.queries import Reader
from palmetto.evaluation.registry import Chosen
from palmetto.evaluation.results import summarize
from palmetto.evaluation.settings import SETTINGS, Settings
from palmetto.evaluation.tasks.task import Outcome, Task
from palmetto.files import locked, read_json, write_json, write_text

LEDGER, OUTCOMES, RESULTS = "ledger.jsonl", "outcomes.jsonl", "results.json"

Follow = Callable[[str, int, Iterable[Outcome]], Iterable[Outcome]]
"""Yields the outcomes of a task as they arrive, given its name and their number."""


class Evaluation(NamedTuple):
    """Holds the results of an evaluation, with the examples behind them."""

    results: dict[str, Any]
    evaluated: dict[str, tuple[Loaded, list[Outcome]]]


def run(
    chosen: Chosen,
    data: Path,
    settings: Settings,
    model: Mapping[str, Any],
    engine: Answerer,
    reader: Reader,
    out: Path,
    say: Callable[[str], None],
    follow: Follow = lambda part, total, outcomes: outcomes,
) -> Evaluation:
    """Evaluates into a folder, or goes on with an evaluation that was killed there.

    model: what identifies the model and its bits. engine: what answers the requests. say: what shows a task's end.
    follow: what shows how many of its examples are done.
    Raises UserError if the folder holds another evaluation, if data are missing, too few for the shots or not as their
    format says, or if this machine cannot score the answers of a task.
    """
    loaded = [load(_runnable(task, settings), data) for task in chosen.tasks]
    for each in loaded:
        each.check_shots(settings.shots)
    paths = sorted({path for each in loaded for path in each.files})
    record = {
        "tasks": [each.task.name + (f"@{each.task.digest}" if each.task.digest else "") for each in loaded],
        **settings._asdict(),
        "own_shots": {task.name: task.shots for task in chosen.tasks if settings.shots is None},
        "data": {path: digest(data / path) for path in paths},
    }
    with locked(out):
        begin_or_go_on(out, record | dict(model))
        ledger, evaluated = Ledger(out / LEDGER), dict[str, tuple[Loaded, list[Outcome]]]()
        for each in loaded:
            judged = evaluate(each, engine, reader, ledger, settings)
            outcomes = list(follow(each.task.name, len(each.examples[: settings.limit]), judged))
            evaluated[each.task.name] = each, outcomes
            say(f"{each.task.name}: {len(outcomes)} examples")
        ledger.close()
        results = summarize(evaluated, chosen.groups, chosen.suites, chosen.lacking)
        write_text(out / OUTCOMES, "".join(_lines(evaluated)))
        write_json(out / RESULTS, results)
    return Evaluation(results, evaluated)


def _runnable(task: Task, settings: Settings) -> Task:
    """Returns the task, without a jail for programs if there is none here and that is allowed.

    Raises UserError if answers cannot be scored here.
    """
    try:
        if task.require is not None:
            task.require()
    except UserError as error:
        if task.unconfined is None:
            raise
        if not settings.unsafe_code:
            raise UserError(f"{task.name}: {error}; --unsafe-code runs programs without a jail") from None
        return task.unconfined(task)
    return task


def begin_or_go_on(out: Path, record: Mapping[str, Any]) -> None:
    """Writes what an evaluation is made with, if the folder does not hold it yet.

    Raises UserError that names what differs if the folder holds another evaluation.
    """
    path = out / SETTINGS
    if not path.exists():
        write_json(path, record)
        return
    there = read_json(path)
    for key, value in json.loads(json.dumps(record)).items():
        if key != "run" and there.get(key) != value:
            raise UserError(
                f"{out}: holds an evaluation with {key}={there.get(key)}; expected {value}, or another --out"
            )


def _lines(evaluated: Mapping[str, tuple[Loaded, Sequence[Outcome]]]) -> list[str]:
    return [
        json.dumps({"task": name, **outcome._asdict()}, ensure_ascii=False) + "\n"
        for name, (_, outcomes) in evaluated.items()
        for outcome in outcomes
    ]
