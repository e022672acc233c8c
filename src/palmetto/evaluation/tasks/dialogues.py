"""Questions that follow each other, with the true answers so far: QuAC (arXiv 1808.07036), CoQA (arXiv 1808.07042)."""

from collections.abc import Iterator
from pathlib import Path

from palmetto.evaluation.answers import accepted, words
from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.files import read_json


def _turns(heading: str, passage: str, turns: list[tuple[str, list[str]]], cluster: str) -> Iterator[Record]:
    """Yields a record for each question, with the questions before it and their answers."""
    before: list[tuple[str, str]] = []
    for question, answers in turns:
        yield {
            "heading": heading,
            "passage": passage,
            "before": list(before),
            "question": question,
            "answers": answers,
            "cluster": cluster,
        }
        before.append((question, answers[0]))


def so_far(passage: str, record: Record, gap: str = "\n") -> str:
    """Returns a passage with the questions on it so far and their answers, and the next question.

    gap: what stands between a question and its answer.
    """
    earlier = (f"\n\nQ: {question}{gap}A: {answer}" for question, answer in record["before"])
    return f"{passage}{''.join(earlier)}\n\nQ: {record['question']}{gap}A:"


def _quac(path: Path) -> Iterator[Record]:
    for article in read_json(path)["data"]:
        for paragraph in article["paragraphs"]:
            turns = [
                (each["question"], [each["orig_answer"]["text"], *(answer["text"] for answer in each["answers"])])
                for each in paragraph["qas"]
            ]
            heading = " - ".join(filter(None, (article["title"], article.get("section_title"))))
            yield from _turns(heading, paragraph["context"], turns, paragraph["id"])


def _coqa(path: Path) -> Iterator[Record]:
    for story in read_json(path)["data"]:
        others = story.get("additional_answers", {})
        turns = [
            (
                question["input_text"],
                [answer["input_text"], *(others[key][place]["input_text"] for key in sorted(others))],
            )
            for place, (question, answer) in enumerate(zip(story["questions"], story["answers"], strict=True))
        ]
        yield from _turns("", story["story"], turns, story["id"])


def _example(record: Record) -> Example:
    passage = "\n\n".join(filter(None, (record["heading"], record["passage"])))
    return Example(context=so_far(passage, record), answers=accepted(record["answers"]), cluster=record["cluster"])


_QUAC, _COQA = "the JSON of QuAC, with data", "the JSON of CoQA, with data"
_CATEGORY = "Reading comprehension"

TASKS = (
    Task(
        "quac",
        _CATEGORY,
        (File("quac/val_v0.2.json", _quac, _QUAC), File("quac_fixture/quac_sample.json", _quac, _QUAC)),
        _example,
        (File("quac/train_v0.2.json", _quac, _QUAC),),
        metric="f1",
        mark=words,
        tokens=64,
    ),
    Task(
        "coqa",
        _CATEGORY,
        (File("coqa/coqa-dev-v1.0.json", _coqa, _COQA),),
        _example,
        (File("coqa/coqa-train-v1.0.json", _coqa, _COQA),),
        metric="f1",
        mark=words,
    ),
)
