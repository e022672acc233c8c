"""CORE (arXiv 2406.11794): 22 tasks that tell small models apart, each centred so that chance is 0.

They are read from the files of the Mosaic evaluation gauntlet, which have the whole prompt of every example.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

from palmetto.evaluation.answers import same
from palmetto.evaluation.statistics import Estimate, estimate, weighed_alike
from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.suite import Means, Results, Suite
from palmetto.evaluation.tasks.task import Example, File, Option, Outcome, Record, Task

Kind = Literal["choices", "schema", "continuation"]


class _Row(NamedTuple):
    """Describes a task: its file, how its records are asked, the shots, and what chance scores."""

    name: str
    path: str
    kind: Kind
    shots: int
    chance: float
    delimiter: str = " "
    """The text between a question and its answer."""
    categories: bool = False
    """Says whether its score is the mean over the categories of its questions, each of the same weight."""


_ANSWER = "\nAnswer: "
_CATEGORIES = "by_category"
"""The metric of tasks that are averaged over categories."""
_WORLD, _SENSE, _LANGUAGE, _SYMBOLS, _READING = (
    "world_knowledge",
    "commonsense_reasoning",
    "language_understanding",
    "symbolic_problem_solving",
    "reading_comprehension",
)
_ROWS = (
    _Row("hellaswag_zeroshot", f"{_LANGUAGE}/hellaswag", "choices", 0, 0.25),
    _Row("jeopardy", f"{_WORLD}/jeopardy_all", "continuation", 10, 0.0, _ANSWER, True),
    _Row("bigbench_qa_wikidata", f"{_WORLD}/bigbench_qa_wikidata", "continuation", 10, 0.0),
    _Row("arc_easy", f"{_WORLD}/arc_easy", "choices", 10, 0.25, _ANSWER),
    _Row("arc_challenge", f"{_WORLD}/arc_challenge", "choices", 10, 0.25, _ANSWER),
    _Row("copa", f"{_SENSE}/copa", "choices", 0, 0.5),
    _Row("commonsense_qa", f"{_SENSE}/commonsense_qa", "choices", 10, 0.2),
    _Row("piqa", f"{_SENSE}/piqa", "choices", 10, 0.5, _ANSWER),
    _Row("openbook_qa", f"{_SENSE}/openbook_qa", "choices", 0, 0.25),
    _Row("lambada_openai", f"{_LANGUAGE}/lambada_openai", "continuation", 0, 0.0),
    _Row("hellaswag", f"{_LANGUAGE}/hellaswag", "choices", 10, 0.25),
    _Row("winograd", f"{_LANGUAGE}/winograd_wsc", "schema", 0, 0.5),
    _Row("winogrande", f"{_LANGUAGE}/winogrande", "schema", 0, 0.5),
    _Row("bigbench_dyck_languages", f"{_SYMBOLS}/bigbench_dyck_languages", "continuation", 10, 0.0),
    _Row("agi_eval_lsat_ar", f"{_SYMBOLS}/agi_eval_lsat_ar", "choices", 3, 0.2),
    _Row("bigbench_cs_algorithms", f"{_SYMBOLS}/bigbench_cs_algorithms", "continuation", 10, 0.0),
    _Row("bigbench_operators", f"{_SYMBOLS}/bigbench_operators", "continuation", 10, 0.0),
    _Row("bigbench_repeat_copy_logic", f"{_SYMBOLS}/bigbench_repeat_copy_logic", "continuation", 10, 0.0),
    _Row("squad", f"{_READING}/squad", "continuation", 10, 0.0),
    _Row("coqa", f"{_READING}/coqa", "continuation", 0, 0.0),
    _Row("boolq", f"{_READING}/boolq", "choices", 10, 0.62, _ANSWER),
    _Row("bigbench_language_identification", f"{_LANGUAGE}/bigbench_language_identification", "choices", 10, 0.091),
)
_SEPARATOR = "\n"
"""The text that follows a shot, as in the program that DCLM evaluates with."""
_FORMS: dict[Kind, str] = {
    "choices": "lines of JSON with query, choices and gold",
    "schema": "lines of JSON with context_options, continuation and gold",
    "continuation": "lines of JSON with context and continuation",
}


def _choices(delimiter: str, record: Record) -> Example:
    options = tuple(Option(record["query"], delimiter + text) for text in record["choices"])
    return Example(options, (record["gold"],), separator=_SEPARATOR)


def _schema(delimiter: str, record: Record) -> Example:
    continuation = delimiter + record["continuation"]
    options = tuple(Option(context, continuation) for context in record["context_options"])
    return Example(options, (record["gold"],), separator=_SEPARATOR)


def _continuation(delimiter: str, record: Record) -> Example:
    context, answers = record["context"].strip() + delimiter, (record["continuation"].strip(),)
    return Example(context=context, answers=answers, separator=_SEPARATOR)


def _categorized(delimiter: str, record: Record) -> Example:
    return replace(_continuation(delimiter, record), kind=record["category"])


def _by_category(outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns the mean over categories, which have many or few questions."""
    kinds = dict.fromkeys(outcome.kind for outcome in outcomes)
    of_each = [[outcome for outcome in outcomes if outcome.kind == kind] for kind in kinds]
    values = weighed_alike([[outcome.scores["acc"] for outcome in of] for of in of_each])
    return {_CATEGORIES: estimate(values, [outcome.cluster for of in of_each for outcome in of])}


_EXAMPLES = {"choices": _choices, "schema": _schema, "continuation": _continuation}


def _task(row: _Row) -> Task:
    form = _FORMS[row.kind] + (", each with its category" if row.categories else "")
    return Task(
        f"core_{row.name}",
        "CORE",
        (File(f"core/{row.path}.jsonl", json_lines, form),),
        partial(_categorized if row.categories else _EXAMPLES[row.kind], row.delimiter),
        shots=row.shots,
        # If the answer of as many tokens is the same, each of its tokens is the likeliest one.
        mark=partial(same, "acc") if row.kind == "continuation" else None,
        stop=(),
        tokens=0,
        estimates=_by_category if row.categories else None,
    )


def _means(results: Results) -> Means:
    """Returns CORE with and without BoolQ, whose changes are the largest: always `yes` scores 62."""
    there = [(row, results[f"core_{row.name}"]) for row in _ROWS if f"core_{row.name}" in results]
    centred = {
        row.name: (each.by(_CATEGORIES) if row.categories else each.estimate).centred(row.chance) for row, each in there
    }
    return {
        "core": list(centred.values()),
        "core_without_boolq": [estimate for name, estimate in centred.items() if name != "boolq"],
    }


TASKS = tuple(map(_task, _ROWS))
SUITES = {"core": Suite({task.name: task.shots for task in TASKS}, _means, least=-float("inf"))}
