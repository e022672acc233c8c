"""Reads the published files of evaluation sets, which are JSON, lines of JSON, tables or archives of them."""

import csv
import gzip
import io
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from palmetto import tables
from palmetto.errors import UserError
from palmetto.evaluation.tasks.task import File, Record, Source
from palmetto.files import read_json

Read = Callable[[Path], Iterable[Record]]

_PLACE = re.compile(r"\s*\b(?:Answer|Option|Solution|Ending)(\d+): ?")
_FORMAT = re.compile(r"\s*Answer format: .*$", re.DOTALL)


def json_lines(path: Path) -> Iterator[Record]:
    """Yields the objects of a file with one a line, of which the last may have no end."""
    for number, line in enumerate(text(path).split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                raise UserError(f"{path}: line {number} is not JSON") from None


def json_list(path: Path) -> Iterator[Record]:
    """Yields the objects of a file that holds a list of them."""
    found = read_json(path)
    if not isinstance(found, list):
        raise UserError(f"{path}: expected a list of objects")
    yield from found


def table(path: Path, delimiter: str = ",") -> Iterator[Record]:
    """Yields the rows of a table, whose first row names the fields."""
    rows = tables.reader(io.StringIO(text(path), newline=""), delimiter)
    try:
        names = next(rows, [])
        yield from (tables.named(names, row) for row in rows if row)
    except csv.Error as error:
        raise UserError(f"{path}: line {rows.line_num}: {error}; expected a table") from None


def archived(path: Path, ending: str) -> Any:
    """Returns the JSON of the first member of a tar archive, by name, whose name has this ending."""
    try:
        with tarfile.open(path) as archive:
            names = sorted(name for name in archive.getnames() if name.endswith(ending))
            if not names:
                raise UserError(f"{path}: no file in it ends with {ending}")
            member = archive.extractfile(names[0])
            assert member is not None, "a file, since it has an ending"
            return json.loads(member.read())
    except (tarfile.TarError, EOFError, zlib.error):
        raise UserError(f"{path}: not a whole tar archive") from None


def instructed(path: Path) -> Iterator[Record]:
    """Yields question, options and gold of records that ask in one instruction: `…: QUESTION Answer1: … Answer2: …`."""
    for number, record in enumerate(read_json(path)):
        asked = _FORMAT.sub("", record["instruction"])
        question, *rest = _PLACE.split(asked)
        options, gold = [text.strip() for text in rest[1::2]], int(re.sub(r"\D", "", record["answer"])) - 1
        if not 0 <= gold < len(options):
            raise UserError(f"{path}: record {number}: {record['answer']!r} is none of {len(options)} options")
        yield {"question": question.partition(": ")[2].strip(), "options": options, "gold": gold}


def then(read: Read, change: Callable[[Record], Record]) -> Read:
    """Returns a reader whose records are changed, so that all files of a set give the same ones."""
    return lambda path: (change(record) for record in read(path))


def find(source: Source, folder: Path) -> File | None:
    """Returns the first file of a source that is in the folder with its companions."""
    for file in source:
        if all((folder / path).exists() for path in (file.path, *file.companions)):
            return file
    return None


def missing(source: Source, folder: Path) -> list[str]:
    """Returns the files of a source, as published, that are not in the folder."""
    first = source[0]
    return [path for path in (first.path, *first.companions) if not (folder / path).exists()]


def absent(source: Source, folder: Path) -> str:
    """Returns a line that says which file of a source is missing from the folder, and its format."""
    first, *others = source
    instead = f"; or {', '.join(file.path for file in others)}" if others else ""
    return f"{folder / missing(source, folder)[0]}: no such file; expected {first.form}{instead}"


def lines(path: Path) -> list[str]:
    """Returns the lines of a text, which end with a newline; the last may have no end.

    Other characters that Python takes for the end of a line, such as U+2028, are part of one.
    """
    return [line.removesuffix("\r") for line in text(path).removesuffix("\n").split("\n")]


def plain_lines(path: Path) -> Iterator[Record]:
    """Yields the lines that are not empty, each as a text."""
    return ({"text": line} for line in lines(path) if line.strip())


def text(path: Path) -> str:
    """Returns the text of a file, which may be packed by gzip, with its line ends and without a byte order mark."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start})") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a whole file of gzip ({error})") from None
