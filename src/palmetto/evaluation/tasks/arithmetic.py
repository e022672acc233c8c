"""Word problems: GSM8K with its chains, SVAMP, MAWPS and MGSM with numbers only; an answer is its number."""

import re
from collections.abc import Iterator
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import json_lines, json_list, lines
from palmetto.evaluation.tasks.task import Example, File, Record, Task

_CATEGORY = "Arithmetic"
_NUMBER = re.compile(r"-?\d+\.?\d*")


def first_number(text: str) -> float | None:
    """Returns the first number in a text, whose thousands may be set apart by commas."""
    found = _NUMBER.search(text.replace(",", ""))
    return None if found is None else float(found[0])


def number(text: str, example: Example) -> dict[str, float] | None:
    """Marks the first number of an answer."""
    found = first_number(text)
    return None if found is None else {"em": float(found in map(first_number, example.answers))}


def vote(text: str) -> str | None:
    """Returns the first number of an answer, for which it votes; None if it has none."""
    found = first_number(text)
    return None if found is None else _shown(found)


def _vote_after_marks(text: str) -> str | None:
    return vote(text.partition("####")[2])


def _after_marks(text: str, example: Example) -> dict[str, float] | None:
    """Marks the number after ####, with which a chain of GSM8K ends."""
    return number(text.partition("####")[2], example)


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _gsm8k(record: Record) -> Example:
    number = first_number(record["answer"].partition("####")[2])
    if number is None:
        raise ValueError("no number after ####")
    context = f"Question: {record['question']}\nAnswer:"
    return Example(context=context, answers=(_shown(number),), solution=record["answer"])


def _svamp(record: Record) -> Example:
    body = record["Body"].strip()
    ended = body if body.endswith((".", "!", "?", ",")) else f"{body}."
    context = f"Question: {ended} {record['Question'].strip()}\nAnswer:"
    return Example(context=context, answers=(_shown(record["Answer"]),))


def _mawps(record: Record) -> Example:
    return Example(context=f"Question: {record['input'].strip()}\nAnswer:", answers=(_shown(record["target"]),))


def _translated(path: Path) -> Iterator[Record]:
    """Yields the problems of MGSM, each a line with a question, a tab and a number."""
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            question, _, answer = line.rpartition("\t")
            if not question or first_number(answer) is None:
                raise UserError(f"{path}: line {number}: expected a question, a tab and a number")
            yield {"input": question, "target": first_number(answer)}


def _mgsm(language: str) -> Task:
    file = File(f"mgsm/mgsm_{language}.tsv", _translated, "lines of a question, a tab and a number")
    return Task(f"mgsm_direct_{language}", "Languages", (file,), _mawps, metric="em", mark=number, vote=vote, tokens=16)


def _problems(path: str) -> File:
    return File(path, json_lines, "lines of JSON with question and answer, which ends with #### and a number")


def _mawps_task(part: str) -> Task:
    file = File(f"mawps/mawps{part}.jsonl", json_lines, "lines of JSON with input and target")
    return Task(f"mawps_{part}", _CATEGORY, (file,), _mawps, metric="em", mark=number, vote=vote, tokens=16)


_GSM8K = (_problems("gsm8k/test.jsonl"), _problems("gsm8k/train_first1000.jsonl"))
_GSM8K_TRAINING = (_problems("gsm8k/train.jsonl"), _problems("gsm8k/train_first1000.jsonl"))
_SVAMP = (File("svamp/SVAMP.json", json_list, "a list of Body, Question and Answer"),)
_LANGUAGES = ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh")
_PARTS = ("addsub", "multiarith", "singleeq", "singleop")

TASKS = (
    Task(
        "gsm8k",
        _CATEGORY,
        _GSM8K,
        _gsm8k,
        _GSM8K_TRAINING,
        metric="em",
        mark=_after_marks,
        vote=_vote_after_marks,
        stop=("Question:", "\n\n"),
        tokens=256,
    ),
    Task("svamp", _CATEGORY, _SVAMP, _svamp, metric="em", mark=number, vote=vote, tokens=16),
    *map(_mawps_task, _PARTS),
)
TRANSLATED = tuple(map(_mgsm, _LANGUAGES))
GROUPS = {"mawps": tuple(f"mawps_{part}" for part in _PARTS), "mgsm_direct": tuple(task.name for task in TRANSLATED)}
