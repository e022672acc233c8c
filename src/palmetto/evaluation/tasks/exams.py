"""Questions with several answers, of which ARC, OpenBookQA and CommonsenseQA share a format, and AQuA has its own."""

from collections.abc import Sequence
from typing import Any

from palmetto.evaluation.tasks.reading import instructed, json_lines, then
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice

_COMMON = "Common sense"
_FORM = "lines of JSON with question (stem, choices) and answerKey"
_INSTRUCTED = "a list of instructions with Answer1:, Answer2: and so on"


def _unified(record: Record) -> Record:
    choices = record["question"]["choices"]
    gold = [option["label"] for option in choices].index(record["answerKey"])
    return {"question": record["question"]["stem"], "options": [option["text"] for option in choices], "gold": gold}


def _published(path: str) -> File:
    return File(path, then(json_lines, _unified), _FORM)


def _cloze(record: Record) -> Example:
    context = f"Question: {record['question']}\nAnswer:"
    return choice(context, [f" {text}" for text in record["options"]], record["gold"])


def _openbook(record: Record) -> Example:
    return choice(record["question"], [f" {text}" for text in record["options"]], record["gold"])


def letters(options: Sequence[str]) -> list[str]:
    """Returns the letters that name options, from A."""
    return [chr(ord("A") + place) for place in range(len(options))]


def lettered(question: str, options: list[str], gold: int) -> Example:
    """Returns an example whose options stand in the question, to be named by their letters."""
    shown = "".join(f"\n{letter}. {text}" for letter, text in zip(letters(options), options, strict=True))
    return choice(f"{question}{shown}\nAnswer:", [f" {letter}" for letter in letters(options)], gold)


def _commonsense(record: Record) -> Example:
    return lettered(f"Question: {record['question'].strip()}", record["options"], record["gold"])


def aqua_options(record: Record) -> list[str]:
    """Returns the options of a record of AQuA without their letters."""
    return [option.split(")", 1)[1].strip() for option in record["options"]]


def _aqua(record: Record) -> Example:
    question = f"Question: {record['question'].strip()}"
    return lettered(question, aqua_options(record), "ABCDE".index(record["correct"]))


def _exam(name: str, tests: tuple[File, ...], training: str, **others: Any) -> Task:
    return Task(name, _COMMON, tests, training=(_published(training),), **others)


_ANSWER: dict[str, Any] = {"normalization": "unconditional", "unconditional": "Answer:"}
_ARC_EASY = (
    _published("arc/ARC-Easy-Test.jsonl"),
    File("arc/arc_easy_test.json", instructed, _INSTRUCTED),
)
_ARC_CHALLENGE = (
    _published("arc/ARC-Challenge-Test.jsonl"),
    File("arc/arc_challenge_test.json", instructed, _INSTRUCTED),
)
_OPENBOOK = (_published("openbookqa/test.jsonl"), File("openbookqa/test.json", instructed, _INSTRUCTED))
_COMMONSENSE = (_published("commonsenseqa/dev_rand_split.jsonl"),)
_COMMONSENSE_TRAINING = (
    _published("commonsenseqa/train_rand_split.jsonl"),
    _published("commonsenseqa/train_rand_split_first1000.jsonl"),
)


def _aqua_file(name: str) -> tuple[File, ...]:
    return (File(f"aqua/{name}.json", json_lines, "lines of JSON with question, options and correct"),)


TASKS = (
    _exam("arc_easy", _ARC_EASY, "arc/ARC-Easy-Train.jsonl", example=_cloze, **_ANSWER),
    _exam("arc_challenge", _ARC_CHALLENGE, "arc/ARC-Challenge-Train.jsonl", example=_cloze, **_ANSWER),
    _exam("openbookqa", _OPENBOOK, "openbookqa/train.jsonl", example=_openbook, **_ANSWER),
    Task("commonsense_qa", "Reasoning", _COMMONSENSE, _commonsense, _COMMONSENSE_TRAINING),
    Task("aqua", "Reasoning", _aqua_file("test"), _aqua, _aqua_file("dev"), unconditional="Answer:"),
)
