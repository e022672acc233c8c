"""Asks what is likely in daily life: PIQA and Social IQa, whose labels lie in their own files, or in instructions."""

from collections.abc import Iterator
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import instructed, json_lines, text
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice, cluster_of


def _labelled(path: Path) -> Iterator[Record]:
    """Yields records with the labels that stand, one a line, in the file of the same name with -labels.lst."""
    labels = text(path.with_name(f"{path.stem}-labels.lst")).split()
    records = list(json_lines(path))
    if len(records) != len(labels):
        raise UserError(f"{path}: {len(records)} records, but {len(labels)} labels")
    for record, label in zip(records, labels, strict=True):
        yield {**record, "label": int(label)}


def _piqa_records(path: Path) -> Iterator[Record]:
    for record in _labelled(path):
        yield {"question": record["goal"], "options": [record["sol1"], record["sol2"]], "gold": record["label"]}


def _social_records(path: Path) -> Iterator[Record]:
    for record in _labelled(path):
        options = [record[f"answer{letter}"] for letter in "ABC"]
        question = f"{record['context']} {record['question']}"
        cluster = cluster_of(record["context"])
        yield {"question": question, "options": options, "gold": record["label"] - 1, "cluster": cluster}


def _piqa(record: Record) -> Example:
    options = [f" {option.strip()}" for option in record["options"]]
    return choice(f"Question: {record['question']}\nAnswer:", options, record["gold"])


def _social(record: Record) -> Example:
    options = [f" {option}" for option in record["options"]]
    return choice(f"Q: {record['question']}\nA:", options, record["gold"], cluster=record.get("cluster", ""))


def _piqa_file(name: str) -> File:
    form = "lines of JSON with goal, sol1 and sol2"
    return File(f"piqa/{name}.jsonl", _piqa_records, form, (f"piqa/{name}-labels.lst",))


def _social_file(name: str) -> File:
    form = "lines of JSON with context, question and answerA to answerC"
    return File(f"social_i_qa/{name}.jsonl", _social_records, form, (f"social_i_qa/{name}-labels.lst",))


_INSTRUCTED = File("social_i_qa/test.json", instructed, "a list of instructions with Answer1:, Answer2: and Answer3:")

TASKS = (
    Task("piqa", "Common sense", (_piqa_file("valid"),), _piqa, (_piqa_file("train"),)),
    Task("social_iqa", "Reasoning", (_social_file("dev"), _INSTRUCTED), _social, (_social_file("train"),)),
)
