"""ReCoRD (arXiv 1810.12885): which entity of a news article fills a gap in a sentence."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from palmetto.evaluation.answers import f1
from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.superglue import CATEGORY
from palmetto.evaluation.tasks.task import Example, File, Option, Record, Task
from palmetto.files import read_json


def _superglue(path: Path) -> Iterator[Record]:
    return _queries(json_lines(path))


def _published(path: Path) -> Iterator[Record]:
    return _queries(read_json(path)["data"])


def _queries(records: Iterable[Record]) -> Iterator[Record]:
    """Yields the queries on all passages; the ends of entities are inclusive."""
    for number, record in enumerate(records):
        text = record["passage"]["text"]
        places = record["passage"]["entities"]
        for query in record["qas"]:
            yield {
                "text": text,
                "entities": [text[place["start"] : place["end"] + 1] for place in places],
                "query": query["query"],
                "answers": [answer["text"] for answer in query["answers"]],
                "cluster": str(number),
            }


def _example(record: Record) -> Example:
    before, after = record["query"].split("@placeholder", 1)
    context = "\n- ".join([*record["text"].split("\n@highlight\n"), before])
    names = list(dict.fromkeys(record["entities"]))
    gold = tuple(place for place, name in enumerate(names) if name in record["answers"])
    if not gold:
        raise ValueError("no answer is among the entities")
    return Example(
        tuple(Option(context, name + after) for name in names),
        gold,
        credits={"f1": tuple(max(f1(name, answer) for answer in record["answers"]) for name in names)},
        cluster=record["cluster"],
    )


_LINES = "lines of JSON with passage (text, entities) and qas (query, answers)"
_TESTS = (
    File("superglue/ReCoRD/val.jsonl", _superglue, _LINES),
    File("record/dev.json", _published, "the JSON of ReCoRD, with data"),
    File("superglue/ReCoRD/dev32.jsonl", _superglue, _LINES),
    File("record_fixture/record.json", _published, "the JSON of ReCoRD, with data"),
)
_TRAINING = (File("superglue/ReCoRD/train.jsonl", _superglue, _LINES),)

TASKS = (Task("record", CATEGORY, _TESTS, _example, _TRAINING, normalization="raw", metric="em"),)
