"""SQuAD 2.0 (arXiv 1806.03822): answers from a passage, or that it has none."""

from collections.abc import Iterator
from pathlib import Path

from palmetto.evaluation.answers import words
from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.files import read_json

NO_ANSWER = "unanswerable"


def _questions(path: Path) -> Iterator[Record]:
    for article in read_json(path)["data"]:
        for place, paragraph in enumerate(article["paragraphs"]):
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                yield {
                    "title": article["title"].replace("_", " "),
                    "passage": paragraph["context"],
                    "question": question["question"],
                    "answers": [NO_ANSWER] if question.get("is_impossible") else list(dict.fromkeys(answers)),
                    "cluster": f"{article['title']}/{place}",
                }


def _example(record: Record) -> Example:
    context = f"Title: {record['title']}\n\nBackground: {record['passage']}\n\nQuestion: {record['question']}\nAnswer:"
    return Example(context=context, answers=tuple(record["answers"]), cluster=record["cluster"])


def _file(path: str) -> File:
    return File(path, _questions, "the JSON of SQuAD 2.0, with data")


_INSTRUCTION = f"Answer each question from its background, or with {NO_ANSWER} if it gives no answer.\n\n"

TASKS = (
    Task(
        "squadv2",
        "Reading comprehension",
        (_file("squad/dev-v2.0.json"), _file("squad_fixture/squad2.json")),
        _example,
        (_file("squad/train-v2.0.json"),),
        instruction=_INSTRUCTION,
        metric="f1",
        mark=words,
    ),
)
