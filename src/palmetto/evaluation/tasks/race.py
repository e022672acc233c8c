"""RACE (arXiv 1704.04683): examinations of reading for high and middle schools, a file a passage."""

from collections.abc import Iterator
from pathlib import Path

from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice
from palmetto.files import read_json


def _questions(folder: Path) -> Iterator[Record]:
    """Yields the questions on all passages, in the order of the files' numbers."""
    for path in sorted(folder.glob("*.txt"), key=lambda path: (len(path.stem), path.stem)):
        record = read_json(path)
        for question, options, answer in zip(record["questions"], record["options"], record["answers"], strict=True):
            yield {
                "article": record["article"],
                "question": question,
                "options": options,
                "gold": "ABCD".index(answer),
                "cluster": path.stem,
            }


def _example(record: Record) -> Example:
    context = f"Article: {record['article'].strip()}\n\nQuestion: {record['question']}\nAnswer:"
    return choice(context, [f" {text}" for text in record["options"]], record["gold"], cluster=record["cluster"])


def _folder(part: str, school: str) -> File:
    form = "a folder of .txt files, each JSON with article, questions, options and answers"
    return File(f"race/{part}/{school}", _questions, form)


def _task(school: str) -> Task:
    return Task(
        f"race_{school}",
        "Reading comprehension",
        (_folder("test", school),),
        _example,
        (_folder("train", school),),
        normalization="unconditional",
        unconditional="Answer:",
    )


TASKS = tuple(map(_task, ("high", "middle")))
