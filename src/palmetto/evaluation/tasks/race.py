"""RACE (arXiv 1704.04683): examinations of reading for high and middle schools, a file a passage."""

from collections.abc import Iterator
from pathlib import Path

from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice
from palmetto.files import read_json


def _questions(folder: Path) -> Iterator[Record]:
    """Yields the questions on all passages, in the order of the files' numbers, each with those before it."""
    for path in sorted(folder.glob("*.txt"), key=lambda path: (len(path.stem), path.stem)):
        record, before = read_json(path), list[tuple[str, str]]()
        for question, options, answer in zip(record["questions"], record["options"], record["answers"], strict=True):
            gold = "ABCD".index(answer)
            yield {
                "article": record["article"],
                "before": list(before),
                "question": question,
                "options": options,
                "gold": gold,
                "cluster": path.stem,
            }
            before.append((question, options[gold]))


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
