"""Chains of thought (arXiv 2201.11903): worked exemplars stand in front, and the chain ends with the answer."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from palmetto.evaluation.calculator import corrected
from palmetto.evaluation.tasks import arithmetic, reasoning
from palmetto.evaluation.tasks.task import Example, File, Record, Source, Task

_ANSWER = re.compile(r"answer is:?\s*(.*)", re.IGNORECASE)
_STEPS = "Let's think step by step"


def stated(text: str) -> str | None:
    """Returns what a chain says that the answer is, to the line's end without a full stop; None if it does not."""
    found = _ANSWER.search(text)
    return None if found is None else found[1].strip().removesuffix(".")


def _number(text: str, example: Example) -> dict[str, float] | None:
    """Marks the number of the chain as it is, and with the calculator's results in it."""
    marks = {}
    for name, chain in (("em", text), ("em_calculator", corrected(text))):
        number = arithmetic.first_number(stated(chain) or "")
        if number is None:
            return None
        marks[name] = float(number == float(example.answers[0]))
    return marks


def _number_said(text: str) -> str | None:
    number = arithmetic.first_number(stated(text) or "")
    return None if number is None else str(number)


def _same(text: str, example: Example) -> dict[str, float] | None:
    answer = stated(text)
    return None if answer is None else {"em": float(answer == example.answers[0])}


def _text(path: Path) -> list[Record]:
    return [{"text": path.read_text(encoding="utf-8").strip() + "\n\n"}]


def _after_canary(path: Path) -> list[Record]:
    """Returns what stands after the first line of dashes."""
    return [{"text": record["text"].partition("\n-----\n")[2]} for record in _text(path)]


def _places(path: str, read: Callable[[Path], list[Record]]) -> Source:
    """Returns a file of exemplars, which lies in the folder of the sets or beside it."""
    form = "the text of worked examples"
    return File(f"cot/{path}", read, form), File(f"../cot/{path}", read, form)


def _worded(example: Callable[[Record], Example], record: Record) -> Example:
    plain = example(record)
    context = f"{plain.context.removesuffix('Answer:')}{_STEPS}\n"
    return Example(context=context, answers=plain.answers, solution=f"The answer is {plain.answers[0]}.")


def _hard(record: Record) -> Example:
    context = f"Q: {record['input']}\nA: {_STEPS}."
    return Example(context=context, answers=(record["target"],), solution=f"So the answer is {record['target']}.")


def _arithmetic(task: Task) -> Task:
    return Task(
        f"{task.name}_cot",
        task.category,
        task.tests,
        partial(_worded, task.example),
        takes_shots=False,
        preamble=_places("gsm8k_mmlu/prompt_original.txt", _text),
        metric="em",
        mark=_number,
        vote=_number_said,
        stop=("Question:", "\n\n"),
        tokens=256,
    )


def _reasoning(name: str) -> Task:
    return Task(
        f"bbh_cot_{name}",
        "Reasoning",
        reasoning.tests(name),
        _hard,
        takes_shots=False,
        preamble=_places(f"bbh/{name}.txt", _after_canary),
        metric="em",
        mark=_same,
        vote=stated,
        stop=("Q:", "\n\n"),
        tokens=512,
    )


TASKS = (*map(_arithmetic, arithmetic.TASKS), *map(_reasoning, reasoning.HARD))
GROUPS = {
    "mawps_cot": tuple(f"{name}_cot" for name in arithmetic.GROUPS["mawps"]),
    "bbh_cot": tuple(f"bbh_cot_{name}" for name in reasoning.HARD),
}
