"""Winograd schemas, scored in part: the likelihood of what follows the name that replaces the pronoun."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from palmetto.errors import UserError
from palmetto.evaluation.tasks.reading import instructed, json_lines, lines, then
from palmetto.evaluation.tasks.task import Example, File, Option, Record, Task

CATEGORY = "Winograd-style"
_SCHEMA = "a sentence, [MASK], two names, the right name and an empty line, in this order"
_DETERMINER = re.compile(r"\A(The|A|An|My|Our|Your|His|Her|Its|Their)\b")


def _filled(sentence: str, gap: str, names: list[str], gold: int) -> Example:
    """Returns an example whose options are a sentence with each name in the gap, compared by what comes after it."""
    before, after = " ".join(sentence.split()).split(gap, 1)
    inside = bool(before.strip()) and not before.rstrip().endswith((".", "!", "?", '"'))
    fitted = [_DETERMINER.sub(lambda found: found[0].lower(), name, count=1) if inside else name for name in names]
    return Example(tuple(Option(before + name, after) for name in fitted), (gold,))


def _schemas(path: Path) -> Iterator[Record]:
    """Yields the schemas of a file with five lines each: sentence, [MASK], names, right name, and an empty one."""
    every = lines(path)
    while every and not every[-1].strip():
        every.pop()
    for at in range(0, len(every), 5):
        schema = every[at : at + 4]
        if len(schema) < 4:
            raise UserError(f"{path}: line {at + 1}: {len(schema)} lines of a schema; expected {_SCHEMA}")
        names = [name.strip() for name in schema[2].split(",")]
        right = schema[3].strip()
        if len(names) != 2 or right not in names:
            raise UserError(f"{path}: line {at + 4}: {right!r} is none of the two names in the line before")
        names.sort()  # the right one stands first in the file
        yield {"sentence": schema[0], "options": names, "gold": names.index(right)}


def _winogrande(record: Record) -> Record:
    names = [record["option1"], record["option2"]]
    return {"sentence": record["sentence"], "options": names, "gold": int(record["answer"]) - 1}


def _schema(gap: str, record: Record) -> Example:
    return _filled(record["sentence"], gap, record["options"], record["gold"])


def _wsc273(record: Record) -> Example:
    # A sentence and its twin, whose right name is the other one, have the same names.
    return replace(_schema("[MASK]", record), cluster=" / ".join(record["options"]))


def gap(record: Record) -> Example:
    """Returns a record of WinoGrande, scored in part."""
    return _schema("_", record)


def _renamed(record: Record) -> Record:
    return {**record, "sentence": record["question"]}


_FORM = "lines of JSON with sentence, option1, option2 and answer"
_WINOGRANDE = (
    File("winogrande/dev.jsonl", then(json_lines, _winogrande), _FORM),
    File("winogrande/test.json", then(instructed, _renamed), "a list of instructions with Option1: and Option2:"),
)
_TRAINING = (File("winogrande/train_xl.jsonl", then(json_lines, _winogrande), _FORM),)
_WSC273 = (File("winograd/wsc273.txt", _schemas, _SCHEMA),)

TASKS = (
    Task("wsc273", CATEGORY, _WSC273, _wsc273, normalization="raw"),
    Task("winogrande", CATEGORY, _WINOGRANDE, gap, _TRAINING, normalization="raw"),
)
