"""DROP (arXiv 1903.00161): answers that take counting and comparing, with its exact match and F1 over several spans."""

import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.files import read_json

_BETWEEN = "; "
"""The text between the spans of an answer."""


def normalize(span: str) -> str:
    """Returns a span in lower case without articles and punctuation, with numbers in one form."""
    words = []
    for word in re.split(r"[ -]", span.lower()):
        number = _number(word)
        bare = "".join(each for each in word if each not in string.punctuation) if number is None else str(number)
        words.append(re.sub(r"\b(a|an|the)\b", "", bare))
    return " ".join(word for word in words if word.strip())


def _number(word: str) -> float | None:
    try:
        return float(word.strip(string.punctuation.replace("-", "").replace(".", "")).replace(",", ""))
    except ValueError:
        return None


def score(answer: str, accepted: str) -> tuple[float, float]:
    """Returns exact match and F1 of spans, each matched with at most one of the other's."""
    ours, theirs = ([normalize(span) for span in text.split(_BETWEEN)] for text in (answer, accepted))
    exact = float(sorted(ours) == sorted(theirs))
    fewer, more = sorted((ours, theirs), key=len)
    return exact, _matched([[_f1(one, other) for other in more] for one in fewer]) / len(more)


def _matched(table: Sequence[Sequence[float]]) -> float:
    """Returns the highest sum of entries of which each row has one and each column at most one."""
    best = {frozenset[int](): 0.0}
    for row in table:
        following = dict[frozenset[int], float]()
        for taken, total in best.items():
            for column, entry in enumerate(row):
                if column not in taken:
                    wider = taken | {column}
                    following[wider] = max(following.get(wider, 0.0), total + entry)
        best = following
    return max(best.values())


def _f1(answer: str, accepted: str) -> float:
    """Returns the F1 of two bags of words; 0 if the accepted one has numbers, of which the other has none."""
    ours, theirs = set(answer.split()), set(accepted.split())
    numbers = {word for word in theirs if _number(word) is not None}
    if not ours or not theirs or (numbers and not numbers & ours):
        return float(ours == theirs)
    return 2 * len(ours & theirs) / (len(ours) + len(theirs))


def _mark(text: str, example: Example) -> dict[str, float] | None:
    if not text.strip():
        return None
    # DROP takes the annotator with whom the pair of both scores is highest.
    exact, f1 = max(score(text.strip().rstrip("."), accepted) for accepted in example.answers)
    return {"em": exact, "f1": f1}


def _text(answer: Record) -> str:
    """Returns an answer as one text: a number, spans, or a date."""
    date = answer.get("date") or {}
    parts = [str(answer.get("number") or "")], answer.get("spans") or [], [_date(date)]
    return next((_BETWEEN.join(part) for part in parts if any(part)), "")


def _date(date: Record) -> str:
    return " ".join(part for part in (date.get("day"), date.get("month"), date.get("year")) if part)


def _questions(path: Path) -> Iterator[Record]:
    """Yields the questions that have an answer; published files may have some without."""
    for id, passage in read_json(path).items():
        for question in passage["qa_pairs"]:
            answers = [question["answer"], *question.get("validated_answers", ())]
            texts: Sequence[str] = [text for answer in answers if (text := _text(answer))]
            if texts:
                yield {
                    "passage": passage["passage"],
                    "question": question["question"],
                    "answers": list(dict.fromkeys(texts)),
                    "cluster": id,
                }


def _example(record: Record) -> Example:
    context = f"Passage: {record['passage'].strip()}\nQuestion: {record['question']}\nAnswer:"
    return Example(context=context, answers=tuple(record["answers"]), cluster=record["cluster"])


def _file(path: str) -> File:
    return File(path, _questions, "the JSON of DROP, with passage and qa_pairs")


TASKS = (
    Task(
        "drop",
        "Reading comprehension",
        (_file("drop/drop_dataset_dev.json"), _file("drop_fixture/drop.json")),
        _example,
        (_file("drop/drop_dataset_train.json"),),
        metric="f1",
        mark=_mark,
    ),
)
