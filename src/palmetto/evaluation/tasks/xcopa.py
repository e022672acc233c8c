"""XCOPA (arXiv 2005.00333): COPA in eleven languages, with each language's words for because and therefore."""

from functools import partial

from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice

_LINKS = {
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
_TURKISH = {"I": "ı", "İ": "i"}
"""The capitals of Turkish whose small letters are others than elsewhere."""


def _example(language: str, record: Record) -> Example:
    link = _LINKS[language][("cause", "effect").index(record["question"])]
    context = f"{record['premise'].strip().rstrip('.。')} {link}"
    lower = _TURKISH if language == "tr" else {}
    options = [f" {lower.get(text[0], text[0].lower())}{text[1:]}" for text in (record["choice1"], record["choice2"])]
    return choice(context, options, record["label"])


def _file(part: str, language: str) -> File:
    form = "lines of JSON with premise, choice1, choice2, question and label"
    return File(f"xcopa/{part}.{language}.jsonl", json_lines, form)


def _task(language: str) -> Task:
    test, validation = _file("test", language), _file("val", language)
    example = partial(_example, language)
    return Task(f"xcopa_{language}", "Languages", (test, validation), example, (validation,), normalization="raw")


TASKS = tuple(map(_task, _LINKS))
GROUPS = {"xcopa": tuple(task.name for task in TASKS)}
