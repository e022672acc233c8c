"""OLMES (arXiv 2406.08446): ten sets with curated shots, each in two forms, of which the better counts.

In the cloze form, options are ranked by their likelihood; in the multiple-choice form, they stand in the question, and
their letters are ranked.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from palmetto.evaluation.tasks import cloze, common_sense, exams, mmlu, superglue, winograd
from palmetto.evaluation.tasks.exams import letters
from palmetto.evaluation.tasks.suite import Means, Results, Suite, only
from palmetto.evaluation.tasks.task import Example, Normalization, Record, Source, Task, choice

_SHOTS, _MOST = 5, 1000
_SETS = {task.name: task for module in (exams, superglue, cloze, common_sense, winograd, mmlu) for task in module.TASKS}


class _Asked(NamedTuple):
    """Holds a question with its options."""

    question: str
    options: Sequence[str]
    gold: int


def _question(record: Record) -> _Asked:
    return _Asked(f"Question: {record['question'].strip()}", record["options"], record["gold"])


def _goal(record: Record) -> _Asked:
    return _Asked(f"Goal: {record['question'].strip()}", record["options"], record["gold"])


def _passage(record: Record) -> _Asked:
    asked = f"{record['passage'].strip()}\nQuestion: {record['question'].strip()}?"
    return _Asked(asked, ("yes", "no"), int(not record["label"]))


def _ending(record: Record) -> _Asked:
    plain = cloze.hellaswag(record)
    return _Asked(plain.options[0].context, [text.strip() for _, text in plain.options], plain.gold[0])


def _gap(record: Record) -> _Asked:
    return _Asked(f"Fill in the blank: {record['sentence']}", record["options"], record["gold"])


def _ranked(ask: Callable[[Record], _Asked], record: Record) -> Example:
    question, options, gold = ask(record)
    return choice(f"{question}\nAnswer:", [f" {text}" for text in options], gold)


def _lettered(ask: Callable[[Record], _Asked], link: str, record: Record) -> Example:
    question, options, gold = ask(record)
    # A space in front of a letter makes it the token that the answer is.
    shown = "".join(f"\n {letter}. {text}" for letter, text in zip(letters(options), options, strict=True))
    return choice(f"{question}{link}{shown}\nAnswer:", [f" {letter}" for letter in letters(options)], gold)


class _Form(NamedTuple):
    """Describes a set: how it is asked, and how the options of its cloze form are normalized."""

    ask: Callable[[Record], _Asked]
    normalization: Normalization
    link: str = ""
    """The text between the question and the options with letters."""
    ranked: Callable[[Record], Example] | None = None
    """The cloze form, if it is not the question with `Answer:`."""


_FORMS = {
    "arc_easy": _Form(_question, "character"),
    "arc_challenge": _Form(_question, "unconditional"),
    "boolq": _Form(_passage, "raw"),
    "commonsense_qa": _Form(_question, "unconditional"),
    "hellaswag": _Form(_ending, "character", "\nChoose the best continuation:", cloze.hellaswag),
    "openbookqa": _Form(_question, "unconditional"),
    "piqa": _Form(_goal, "character"),
    "social_iqa": _Form(_question, "character"),
    "winogrande": _Form(_gap, "raw", ranked=winograd.gap),
}


def _curated(name: str, tests: Source) -> Source:
    """Returns the file of five shots, which are records in the first format of the set."""
    first = tests[0]
    stem, _, ending = first.path.rpartition(".")
    companions = tuple(f"olmes/{name}{path.removeprefix(stem)}" for path in first.companions)
    return (first._replace(path=f"olmes/{name}.{ending}", companions=companions),)


def _both(name: str, form: _Form, training: Source) -> tuple[Task, Task]:
    """Returns the cloze and the multiple-choice form of a set."""
    of = _SETS[name]
    cloze_form = Task(
        f"olmes_{name}_cloze",
        "OLMES",
        of.tests,
        form.ranked or partial(_ranked, form.ask),
        training,
        in_order=True,
        curated=True,
        instruction=of.instruction,
        normalization=form.normalization,
        unconditional="Answer:",
        shots=_SHOTS,
        most=None if name.startswith("mmlu") else _MOST,
    )
    lettered = replace(
        cloze_form, name=f"olmes_{name}_mc", example=partial(_lettered, form.ask, form.link), normalization="raw"
    )
    return cloze_form, lettered


def _means(results: Results) -> Means:
    """Returns the mean over sets, of which each counts in the form that is better for this model."""
    forms = {name: only(results, (f"olmes_{name}_cloze", f"olmes_{name}_mc")) for name in (*_FORMS, "mmlu")}
    return {"mean": [max(both, key=lambda estimate: estimate.value) for both in forms.values() if both]}


_SUBJECT = _Form(_question, "character")
_PAIRS = (
    *(_both(name, form, _curated(name, _SETS[name].tests)) for name, form in _FORMS.items()),
    *(_both(task.name, _SUBJECT, task.training) for task in mmlu.TASKS),
)

TASKS = tuple(task for pair in _PAIRS for task in pair)
GROUPS = {f"olmes_mmlu_{form}": tuple(f"olmes_{task.name}_{form}" for task in mmlu.TASKS) for form in ("cloze", "mc")}
_REPORTED = (*(f"olmes_{name}_{form}" for name in _FORMS for form in ("cloze", "mc")), *GROUPS)
SUITES = {"olmes": Suite(dict.fromkeys(_REPORTED, _SHOTS), _means)}
