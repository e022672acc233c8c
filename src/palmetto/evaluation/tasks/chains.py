"""Chains of thought (arXiv 2201.11903): worked exemplars stand in front, and the chain ends with the answer."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.calculator import corrected
from palmetto.evaluation.tasks import arithmetic, exams, reasoning
from palmetto.evaluation.tasks.exams import letters
from palmetto.evaluation.tasks.reading import lines
from palmetto.evaluation.tasks.task import Example, File, Record, Source, Task

_ANSWER = re.compile(r"answer is:?\s*(.*)", re.IGNORECASE)
_STEPS = "Let's think step by step"
_QUESTION = re.compile(r"(?:\A|(?<=\n\n))(?=Q(?:uestion)?: )")
"""Matches in front of each exemplar."""
_FORM = "worked examples that begin with Q: or Question:, each after an empty line"


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


def _letter(text: str) -> str | None:
    """Returns the letter that a chain states as its answer, in brackets or by itself: `a` may also be an article."""
    found = re.search(r"\(([a-e])\)|^\W*([a-e])\W*$", (stated(text) or "").lower())
    return None if found is None else found[1] or found[2]


def _yes_or_no(text: str) -> str | None:
    """Returns the first yes or no of what a chain states as its answer."""
    found = re.search(r"\b(yes|no)\b", (stated(text) or "").lower())
    return None if found is None else found[1]


def _picked(pick: Callable[[str], str | None], text: str, example: Example) -> dict[str, float] | None:
    """Marks what is picked from a chain."""
    answer = pick(text)
    return None if answer is None else {"em": float(answer == example.answers[0])}


def _whole(path: Path) -> list[Record]:
    return [_in_front("\n".join(lines(path)), path)]


def _after_canary(path: Path) -> list[Record]:
    """Returns what stands after the first line of dashes."""
    _, dashes, text = "\n".join(lines(path)).partition("\n-----\n")
    if not dashes:
        raise UserError(f"{path}: no line with ----- alone; expected one, and after it {_FORM}")
    return [_in_front(text, path)]


def _in_front(text: str, path: Path) -> Record:
    """Returns the exemplars in a text, and as instruction what is before the first of them."""
    instruction, *exemplars = _QUESTION.split(text.strip() + "\n\n")
    if not exemplars:
        raise UserError(f"{path}: no question in it; expected {_FORM}")
    return {"instruction": instruction, "exemplars": tuple(exemplars)}


def _places(path: str, read: Callable[[Path], list[Record]]) -> Source:
    """Returns a file of exemplars, which lies in the folder of the sets or beside it."""
    return File(f"cot/{path}", read, _FORM), File(f"../cot/{path}", read, _FORM)


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
        chained=True,
        preamble=_places("gsm8k_mmlu/prompt_original.txt", _whole),
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
        chained=True,
        preamble=_places(f"bbh/{name}.txt", _after_canary),
        metric="em",
        mark=partial(_picked, stated),
        vote=stated,
        stop=("Q:", "\n\n"),
        tokens=512,
    )


def _with_letters(record: Record, options: list[str], gold: int) -> Example:
    shown = " ".join(f"({letter.lower()}) {text}" for letter, text in zip(letters(options), options, strict=True))
    answer = letters(options)[gold].lower()
    context = f"Q: {record['question'].strip()}\nAnswer Choices: {shown}\nA:"
    return Example(context=context, answers=(answer,), solution=f"The answer is ({answer}).")


def _commonsense(record: Record) -> Example:
    return _with_letters(record, record["options"], record["gold"])


def _aqua(record: Record) -> Example:
    return _with_letters(record, exams.aqua_options(record), "ABCDE".index(record["correct"]))


def _strategy(record: Record) -> Example:
    answer = ("no", "yes")[int(record["answer"])]
    return Example(context=f"Q: {record['question']}\nA:", answers=(answer,), solution=f"So the answer is {answer}.")


def _with_exemplars(task: Task, example: Callable[[Record], Example], pick: Callable[[str], str | None]) -> Task:
    """Returns a task with exemplars of its own, as in the appendix of the chain-of-thought paper."""
    return Task(
        f"{task.name}_cot",
        task.category,
        task.tests,
        example,
        takes_shots=False,
        chained=True,
        preamble=_places(f"{task.name}.txt", _whole),
        metric="em",
        mark=partial(_picked, pick),
        vote=pick,
        stop=("Q:", "\n\n"),
        tokens=256,
    )


_COMMONSENSE, _AQUA = (next(task for task in exams.TASKS if task.name == name) for name in ("commonsense_qa", "aqua"))

TASKS = (
    *map(_arithmetic, arithmetic.TASKS),
    *map(_reasoning, reasoning.HARD),
    _with_exemplars(_COMMONSENSE, _commonsense, _letter),
    _with_exemplars(_AQUA, _aqua, _letter),
    _with_exemplars(reasoning.STRATEGYQA, _strategy, _yes_or_no),
)
GROUPS = {
    "mawps_cot": tuple(f"{name}_cot" for name in arithmetic.GROUPS["mawps"]),
    "bbh_cot": tuple(f"bbh_cot_{name}" for name in reasoning.HARD),
}
