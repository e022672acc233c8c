"""ANLI (arXiv 1910.14599): whether a text entails a sentence, in three rounds of growing difficulty."""

from palmetto.evaluation.tasks.reading import json_lines
from palmetto.evaluation.tasks.task import Example, File, Record, Task, choice, cluster_of


def _example(record: Record) -> Example:
    context = f"{record['context']}\nQuestion: {record['hypothesis']} True, False, or Neither?\nAnswer:"
    cluster = cluster_of(record["context"])
    return choice(context, (" True", " Neither", " False"), "enc".index(record["label"]), cluster=cluster)


def _file(part: str, round: int) -> File:
    return File(f"anli/R{round}/{part}.jsonl", json_lines, "lines of JSON with context, hypothesis and label (e, n, c)")


def _task(round: int) -> Task:
    tests, training = (_file("test", round), _file("dev", round)), (_file("train", round),)
    return Task(f"anli_r{round}", "Natural language inference", tests, _example, training)


TASKS = tuple(map(_task, (1, 2, 3)))
