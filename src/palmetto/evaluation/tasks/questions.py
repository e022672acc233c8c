"""Questions without a text to look into: Natural Questions, WebQuestions and TriviaQA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palmetto.evaluation.answers import accepted, words
from palmetto.evaluation.tasks.reading import archived, json_lines
from palmetto.evaluation.tasks.task import Example, File, Record, Task
from palmetto.files import read_json


def _asked(record: Record) -> Example:
    question = record["question"].strip().rstrip("?")
    return Example(context=f"Q: {question}?\nA:", answers=accepted(record["answer"]))


def _trivia(content: Any) -> Iterator[Record]:
    """Yields the questions of TriviaQA, with the answer in front of its aliases."""
    for record in content["Data"]:
        answer = record["Answer"]
        yield {"question": record["Question"], "answer": list(dict.fromkeys([answer["Value"], *answer["Aliases"]]))}


def _trivia_file(path: Path) -> Iterator[Record]:
    return _trivia(read_json(path))


def _trivia_archive(path: Path) -> Iterator[Record]:
    return _trivia(archived(path, "wikipedia-dev.json"))


_FORM = "lines of JSON with question and answer, a list"
_TRIVIA = "the JSON of TriviaQA, with Data"
_QUESTIONS = (
    ("nq_open", ("nq_open/NQ-open.dev.jsonl",), ("nq_open/NQ-open.train.jsonl",)),
    (
        "webqs",
        ("webquestions/webq-test.jsonl", "webquestions/webq-dev.jsonl"),
        ("webquestions/webq-train.jsonl", "webquestions/webq-train_first500.jsonl"),
    ),
)


def _lines(paths: tuple[str, ...]) -> tuple[File, ...]:
    return tuple(File(path, json_lines, _FORM) for path in paths)


_TRIVIAQA = (
    File("triviaqa/unfiltered-web-dev.json", _trivia_file, _TRIVIA),
    File("triviaqa/wikipedia-dev.json", _trivia_file, _TRIVIA),
    File("triviaqa_fixture/triviaqa-sample.tgz", _trivia_archive, "an archive with wikipedia-dev.json"),
)
_TRIVIAQA_TRAINING = (File("triviaqa/unfiltered-web-train.json", _trivia_file, _TRIVIA),)
_CATEGORY = "Open-domain questions"

TASKS = (
    *(
        Task(name, _CATEGORY, _lines(tests), _asked, _lines(training), metric="em", mark=words)
        for name, tests, training in _QUESTIONS
    ),
    Task("triviaqa", _CATEGORY, _TRIVIAQA, _asked, _TRIVIAQA_TRAINING, metric="em", mark=words),
)
