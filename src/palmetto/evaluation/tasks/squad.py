"""Answers from a passage, in SQuAD's format.

SQuAD 2.0 (arXiv 1806.03822), where a passage may give none; XQuAD (arXiv 1910.11856) and TyDiQA-GoldP (arXiv
2003.05002), both with a task for each language.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from palmetto.evaluation.answers import accepted, words
from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.files import read_json

NO_ANSWER = "unanswerable"


def _questions(path: Path) -> Iterator[Record]:
    for number, article in enumerate(read_json(path)["data"]):
        for place, paragraph in enumerate(article["paragraphs"]):
            for question in paragraph["qas"]:
                answers = [answer["text"] for answer in question["answers"]]
                yield {
                    "id": question["id"],
                    "title": article.get("title", "").replace("_", " "),
                    "passage": paragraph["context"],
                    "question": question["question"],
                    "answers": [NO_ANSWER] if question.get("is_impossible") else list(dict.fromkeys(answers)),
                    "cluster": f"{number}/{place}",
                }


def _example(record: Record) -> Example:
    context = f"Title: {record['title']}\n\nBackground: {record['passage']}\n\nQuestion: {record['question']}\nAnswer:"
    return Example(context=context, answers=accepted(record["answers"]), cluster=record["cluster"])


def _plain(record: Record) -> Example:
    context = f"{record['passage']}\n\nQ: {record['question']}\nA:"
    return Example(context=context, answers=accepted(record["answers"]), cluster=record["cluster"])


def _file(path: str) -> File:
    return File(path, _questions, "the JSON of SQuAD 2.0, with data")


_INSTRUCTION = f"Answer each question from its background, or with {NO_ANSWER} if it gives no answer.\n\n"

_TYDIQA = ("arabic", "bengali", "english", "finnish", "indonesian", "korean", "russian", "swahili", "telugu")


def _of_language(language: str, path: Path) -> Iterator[Record]:
    """Yields the questions whose ids begin with the name of a language."""
    return (record for record in _questions(path) if record["id"].startswith(f"{language}-"))


def _tydiqa(language: str) -> Task:
    read, form = partial(_of_language, language), "the JSON of SQuAD, with data, and ids that begin with a language"
    tests, training = (File(f"tydiqa/tydiqa-goldp-v1.1-{part}.json", read, form) for part in ("dev", "train"))
    return Task(f"tydiqa_goldp_{language}", "Languages", (tests,), _plain, (training,), metric="f1", mark=words)


_LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")


def _xquad(language: str) -> Task:
    file = File(f"xquad/xquad.{language}.json", _questions, "the JSON of SQuAD, with data")
    return Task(f"xquad_{language}", "Languages", (file,), _plain, metric="f1", mark=words)


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
    *map(_xquad, _LANGUAGES),
    *map(_tydiqa, _TYDIQA),
)
GROUPS = {
    "xquad": tuple(f"xquad_{language}" for language in _LANGUAGES),
    "tydiqa_goldp": tuple(f"tydiqa_goldp_{language}" for language in _TYDIQA),
}
