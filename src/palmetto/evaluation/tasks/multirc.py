"""MultiRC, where a question is right only if all of its answers are judged rightly, as GPT-3 has it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from palmetto.evaluation.scoring import f1_of
from palmetto.evaluation.statistics import Estimate
from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.superglue import CATEGORY, NO_OR_YES
from palmetto.evaluation.tasks.task import Example, File, Outcome, Record, Task, choice


def _answers(path: Path) -> Iterator[Record]:
    """Yields the answers of all questions on all passages."""
    for number, record in enumerate(json_lines(path)):
        for place, question in enumerate(record["passage"]["questions"]):
            for answer in question["answers"]:
                yield {
                    "passage": record["passage"]["text"],
                    "question": question["question"],
                    "answer": answer["text"],
                    "label": answer["label"],
                    "cluster": str(number),
                    "of": f"{number}/{place}",
                }


def _example(record: Record) -> Example:
    context = f"{record['passage']}\nQuestion: {record['question']}\nAnswer: {record['answer']}\nIs the answer correct?"
    return choice(context, NO_OR_YES, record["label"], cluster=record["cluster"], question=record["of"])


def _f1_of_answers(outcomes: Sequence[Outcome], own: Estimate) -> dict[str, Estimate]:
    """Returns F1a, that of all answers of all questions (GLaM)."""
    said, right = [outcome.chosen for outcome in outcomes], [outcome.gold[0] for outcome in outcomes]
    return {"f1a": f1_of(said, right, (1,), [outcome.cluster for outcome in outcomes])}


def _file(name: str) -> File:
    form = "lines of JSON with passage, which has text and questions with their answers"
    return File(f"superglue/MultiRC/{name}.jsonl", _answers, form)


TASKS = (
    Task("multirc", CATEGORY, (_file("val"),), _example, (_file("train"),), metric="em", estimates=_f1_of_answers),
)
