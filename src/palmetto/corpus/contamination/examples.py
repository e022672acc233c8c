"""Reads evaluation sets in their published formats: question, prompt and target of every example.

The formats are .jsonl, .json, .csv, .tsv and .parquet, each also compressed as .gz or .zst. A set is a file. Its name
is the file's name without extension, below the folder's name if a folder is given: ``mmlu/dev/virology_dev``.

A field's role follows from its name (`ROLES`; case and trailing digits are ignored, as in ``choice1``). All strings of
a field count, also within lists and objects; fields of the same role are joined by line breaks. Records may contain
records (`WITHIN`: SQuAD's paragraphs and questions, BIG-bench's examples), which inherit the prompt. A record without
any known field is all question. A .csv or .tsv whose first line has no known name has no header: the first column is
the question, the last is the target, and those between are the prompt.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palmetto import tables
from palmetto.corpus.reading.formats import COMPRESSIONS, opened
from palmetto.corpus.reading.listing import irregular, missing
from palmetto.errors import UserError, nearest

Role = Literal["question", "prompt", "target"]
PARTS: tuple[Role, ...] = ("question", "prompt", "target")
EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_QUESTION = """
    question question_text query stem goal input instruction problem text sentence sentence_good sent_more mr
"""
_PROMPT = """
    prompt passage context ctx paragraph premise hypothesis body story article document document_plaintext dialogue
    background choices choice options option sol ans endings ending target_scores sentence_bad sent_less
"""
_TARGET = """
    target targets answer answers correct_answer orig_answer output completion rationale solution canonical_solution
    code ref reference references summary
"""
ROLES: dict[str, Role] = {
    **dict.fromkeys(_QUESTION.split(), "question"),
    **dict.fromkeys(_PROMPT.split(), "prompt"),
    **dict.fromkeys(_TARGET.split(), "target"),
}
"""The role of a field, by its name."""
WITHIN = frozenset({"data", "examples", "instances", "paragraphs", "qas", "qa_pairs"})
"""Fields that contain further records."""
_LABELS = frozenset({"id", "label", "idx", "answerkey"})
Texts = dict[Role, list[str]]


@dataclass(frozen=True)
class Example:
    """One example of a set; `id` is its number in the file, from 1; missing parts are empty strings."""

    set: str
    id: str
    question: str
    prompt: str
    target: str


def find_sets(path: str | Path) -> dict[str, Path]:
    """Returns the files at a path by the name of their set; raises UserError if there is none or two share a name."""
    root = Path(path)
    if root.is_file():
        if _kind(root) is None:
            raise UserError(
                f"{root}: not a kind of evaluation set; understood are {', '.join(EXTENSIONS)}, also "
                f"compressed ({', '.join(COMPRESSIONS)})"
            )
        return {_stem(Path(root.name)): root}
    if not root.is_dir():
        names = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
        known = irregular(str(root))
        raise UserError(f"{root}: {known or f'no such evaluation set{nearest(root.name, names)}'}")
    sets: dict[str, Path] = {}
    for file in filter(_kind, _below(root)):
        if not file.is_file():
            raise UserError(f"{file}: {irregular(str(file)) or missing(str(file))}; fix or remove it")
        name = f"{root.resolve().name}/{_stem(file.relative_to(root))}"
        if name in sets:
            raise UserError(f"{file}: {sets[name].name} beside it has the same name but for its extension; rename one")
        sets[name] = file
    if not sets:
        raise UserError(f"{root}: no evaluation set in it; understood are {', '.join(EXTENSIONS)}")
    return sets


def other_files(path: str | Path) -> list[str]:
    """Returns the names of a folder's files whose kind cannot be read."""
    root = Path(path)
    files = [file for file in _below(root) if _kind(file) is None] if root.is_dir() else []
    return [f"{root.resolve().name}/{file.relative_to(root).as_posix()}" for file in files]


def _below(root: Path) -> list[Path]:
    """Returns all files below a folder, sorted.

    Links are followed. Every folder is entered once, so cycles of links end. Raises UserError if a folder cannot be
    listed.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); fix or remove it")

    found: list[Path] = []
    entered: set[str] = set()
    for folder, inner, names in os.walk(root, onerror=refuse, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            inner.clear()
            continue
        entered.add(real)
        inner.sort()
        found += (Path(folder, name) for name in names)
    return sorted(found)


def read_examples(path: str | Path) -> Iterator[Example]:
    """Yields the examples of a file or folder of sets, in order.

    Raises UserError as `find_sets` does, and if a file is damaged or has no example.
    """
    for name, file in find_sets(path).items():
        number = 0
        for record in _records(file):
            for texts in _examples(record, {}):
                number += 1
                yield Example(name, str(number), *("\n".join(texts[role]) for role in PARTS))
        if not number:
            raise UserError(f"{file}: no example in it")


def _kind(path: Path) -> str | None:
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower() if inner.suffix.lower() in EXTENSIONS else None


def _stem(path: Path) -> str:
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.with_suffix("").as_posix()


def _records(path: Path) -> Iterator[Any]:
    kind = _kind(path)
    with opened(path) as file:
        data = file.read()
    if kind == ".parquet":
        yield from _parquet_records(data, path)
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert it first") from None
    if kind in (".csv", ".tsv"):
        yield from _rows(text, kind, path)
        return
    try:
        whole = json.loads(text) if kind == ".json" else None
    except (ValueError, RecursionError):
        whole = None  # perhaps JSON Lines in a .json file
    if whole is None:
        yield from _lines(text, path)
    elif isinstance(whole, list):
        yield from whole
    elif isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
        yield from whole.values()
    else:
        yield whole


def _lines(text: str, path: Path) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}: line {number} is not JSON ({error})") from None
            except RecursionError:
                raise UserError(f"{path}: line {number} is nested too deeply to be read; leave it out") from None


def _rows(text: str, kind: str, path: Path) -> Iterator[dict[str, Any]]:
    lines = io.StringIO(text, newline="")
    reader = tables.reader(lines) if kind == ".csv" else tables.reader(lines, "\t", quoted=False)
    names: list[str] | None = None
    try:
        for row in filter(None, reader):
            if names is None:
                names = row if any(_role(name) for name in row) else []
                if names:
                    continue
            first, *rest = row
            yield tables.named(names, row) if names else {"question": first, "choices": rest[:-1], "answer": rest[-1:]}
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None


def _parquet_records(data: bytes, path: Path) -> Iterable[Any]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        names = table.column_names
        if several := [name for name in names if names.count(name) > 1]:
            raise UserError(
                f"{path}: {names.count(several[0])} columns are named `{several[0]}`; rename those that are not meant"
            )
        return table.to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: damaged or not parquet ({str(error).splitlines()[0]})") from None


def _role(name: str) -> Role | None:
    return ROLES.get(name.lower()) or ROLES.get(name.lower().rstrip("0123456789_"))


def _examples(record: Any, outer: Texts) -> Iterator[Texts]:
    """Yields the texts by role of a record, or of each record within it."""
    fields = record if isinstance(record, dict) else {"question": record}
    texts: Texts = {role: list(outer.get(role, ())) for role in PARTS}
    inner = [value for name, value in fields.items() if name.lower() in WITHIN and _holds_records(value)]
    for name, value in fields.items():
        _collect(name, value, None, texts)
    if inner:
        for values in inner:
            for each in values:
                yield from _examples(each, {"prompt": texts["prompt"]})
        return
    if not any(texts.values()):
        texts["question"] = list(_strings(record))
    yield texts


def _holds_records(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _collect(name: str, value: Any, above: Role | None, texts: Texts) -> None:
    """Adds the strings of a field to those of its role; fields within a question may have another role."""
    role = (_role(name) or above) if above in (None, "question") else above
    if role is None:
        return
    if isinstance(value, dict) and above is None and role == "question":
        known = any(_role(inner) for inner in value)
        for inner, content in value.items():
            _collect(inner, content, None if known else role, texts)
        return
    numbers = value if isinstance(value, list) else [value]
    texts[role] += _strings(value)
    texts[role] += [str(number) for number in numbers if isinstance(number, int | float) and type(number) is not bool]


def _strings(value: Any) -> Iterator[str]:
    """Yields all strings in a value except labels; of an object of scores, the scored names."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        if value and all(isinstance(score, int | float) for score in value.values()):
            yield from value
        else:
            for name, content in value.items():
                if name.lower() not in _LABELS:
                    yield from _strings(content)
    elif isinstance(value, list):
        for content in value:
            yield from _strings(content)
