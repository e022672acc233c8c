"""Asks how a text goes on: LAMBADA's last word, the endings of HellaSwag and StoryCloze."""

import re

from palmetto.evaluation.tasks.reading import json_lines, plain_lines, table
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice

CATEGORY = "Cloze and completion"
_BRACKETS = re.compile(r"\[.*?\]")


def _lambada(record: Record) -> Example:
    context, _, last = record["text"].strip().rpartition(" ")
    if not context:
        raise ValueError("the text has one word only")
    return Example(context=context, answers=(last,))


def _last_word(text: str, example: Example) -> dict[str, float] | None:
    """Marks the first word of what was generated, without marks around it."""
    found = re.search(r"\w+(?:['’-]\w+)*", text)
    return None if found is None else {"acc": float(found[0] == example.answers[0])}


def hellaswag(record: Record) -> Example:
    """Returns a record of HellaSwag with its endings as options."""
    begun = record["ctx_a"] + (f" {record['ctx_b'].capitalize()}" if record["ctx_b"] else "")
    context = _plain(f"{record['activity_label']}: {begun}")
    return choice(context, [f" {_plain(ending)}" for ending in record["endings"]], int(record["label"]))


def _plain(text: str) -> str:
    """Returns a text of WikiHow without its marks of titles and steps."""
    return " ".join(_BRACKETS.sub("", text.strip().replace(" [title]", ". ")).split())


def _storycloze(record: Record) -> Example:
    context = " ".join(record[f"InputSentence{number}"] for number in range(1, 5))
    endings = [f" {record[f'RandomFifthSentenceQuiz{number}']}" for number in (1, 2)]
    return choice(context, endings, int(record["AnswerRightEnding"]) - 1)


def _swag_file(name: str) -> File:
    form = "lines of JSON with activity_label, ctx_a, ctx_b, endings and label"
    return File(f"hellaswag/hellaswag_{name}.jsonl", json_lines, form)


def _story_file(name: str) -> File:
    form = "a table with InputSentence1 to 4, RandomFifthSentenceQuiz1, 2 and AnswerRightEnding"
    return File(f"storycloze/{name}", table, form)


_TEXTS = "lines of JSON with text"
_OPENAI = (File("lambada/lambada_test.jsonl", json_lines, _TEXTS),)
_STANDARD = (File("lambada/lambada_test_plain_text.txt", plain_lines, "a text a line"),)
_STANDARD_DEVELOPMENT = (File("lambada/lambada_development_plain_text.txt", plain_lines, "a text a line"),)
_STORY_TEST = _story_file("cloze_test_test__spring2016 - cloze_test_ALL_test.csv")
_STORY_VALIDATION = _story_file("cloze_test_val__spring2016 - cloze_test_ALL_val.csv")

TASKS = (
    Task("lambada_openai", CATEGORY, _OPENAI, _lambada, mark=_last_word, tokens=12),
    Task("lambada_standard", CATEGORY, _STANDARD, _lambada, _STANDARD_DEVELOPMENT, mark=_last_word, tokens=12),
    Task("hellaswag", CATEGORY, (_swag_file("val"),), hellaswag, (_swag_file("train"),)),
    Task("storycloze_2016", CATEGORY, (_STORY_TEST, _STORY_VALIDATION), _storycloze, (_STORY_VALIDATION,)),
)
