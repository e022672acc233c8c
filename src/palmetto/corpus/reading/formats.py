"""Reads files whose text is taken unchanged: .txt, .md, .jsonl and .parquet, each also .gz or .zst.

They are opened, decompressed and decoded as for a corpus, but here anything unreadable raises an error instead of being
passed over.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import IO, Any

from palmetto.corpus.reading import encoding, opening
from palmetto.corpus.reading.opening import Opened
from palmetto.errors import UserError

EXTENSIONS = (".txt", ".md", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".zst")
UNDERSTOOD = f"{', '.join(EXTENSIONS)}, each also {' or '.join(COMPRESSIONS)}"


def extension(name: str) -> str | None:
    """Returns which of EXTENSIONS a file name has, ignoring its compression, or None."""
    path = PurePath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in EXTENSIONS else None


def read(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each document in a file; a null `text` is an empty document.

    Raises UserError if the file is damaged, binary, or not what its name says.
    """
    kind = extension(path.name)
    with _opened(path) as stream:
        if kind == ".jsonl":
            for number, line in enumerate(encoding.Lines(stream.file, encoding.keep), 1):
                place = f"{path}: line {number}"
                if isinstance(line, encoding.Undecodable):
                    raise UserError(f"{place} cannot be read ({line}); fix it or leave it out")
                if line.strip():
                    yield f"{name}:{number}", _json_text(line, place)
        elif kind == ".parquet":
            for row, value in enumerate(_parquet_texts(stream, path)):
                yield f"{name}:{row}", value if isinstance(value, str) else encoding.keep(value or b"")
        else:
            yield name, encoding.keep(stream.whole())


def digest(path: Path) -> bytes:
    """Returns the SHA-256 of a file's decompressed content; raises UserError if it is damaged or too long for a
    text.
    """
    total = hashlib.sha256()
    with _opened(path) as stream:
        for piece in stream.pieces(is_record=extension(path.name) in (".txt", ".md")):
            total.update(piece)
    return total.digest()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for reading, decompressed; errors while it is open become a UserError that names it."""
    with _opened(path) as stream:
        yield stream.file


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Opened]:
    stream: Opened | None = None
    try:
        with opening.opened(str(path)) as stream:
            yield stream
    except PermissionError:
        raise UserError(f"{path}: no permission to read it; allow it (chmod +r) or leave it out") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (encoding.Undecodable, opening.TooLong) as error:
        if not stream or not stream.damage:
            raise UserError(f"{path}: cannot be read as text ({error}); leave it out") from None
    except UserError:
        # If the file is damaged, the error is a consequence; the damage is reported below.
        if not stream or not stream.damage:
            raise
    if stream and stream.damage:
        what = "the compressed file ends in mid-frame" if stream.damage == opening.CUT_SHORT else stream.damage
        raise UserError(f"{path}: damaged or cut short ({what}); fetch it again")


def _json_text(line: str, place: str) -> str:
    try:
        record = json.loads(line.removeprefix("\ufeff"))
    except RecursionError:
        raise UserError(f"{place} is nested too deeply to be read; leave it out") from None
    except ValueError as error:
        raise UserError(f"{place} is not JSON ({error}); expected an object with a `text` field") from None
    if not isinstance(record, dict):
        raise UserError(f"{place} is a JSON {type(record).__name__}; expected an object with a `text` field")
    if "text" not in record:
        fields = ", ".join(map(repr, record)) or "none"
        raise UserError(f"{place} has no `text` field (its fields: {fields}); rename the one that holds the text")
    text = record["text"]
    if not isinstance(text, str | None):
        raise UserError(f"{place}: `text` is {type(text).__name__} {str(text)[:40]!r}; expected a string")
    return text or ""


def _parquet_texts(stream: Opened, path: Path) -> Iterator[Any]:
    """Yields the values of the `text` column, strings as bytes, so that text in another encoding is kept."""
    import pyarrow as pa

    from palmetto.corpus.reading.readers import row_groups

    try:
        # Parquet is read from its end, so a compressed stream, which seeks slowly or not at all, is read whole first.
        table = row_groups.opened(io.BytesIO(stream.whole()) if stream.compressed else stream.file)
    except row_groups.NoTable as error:
        raise UserError(f"{path}: damaged or not parquet ({error}); fetch it again") from None
    columns = table.schema_arrow.names
    if "text" not in columns:
        found = ", ".join(map(repr, columns)) or "none"
        raise UserError(f"{path}: no `text` column (its columns: {found}); rename the one that holds the text")
    if columns.count("text") > 1:
        raise UserError(f"{path}: {columns.count('text')} columns are named `text`; rename those that are not meant")
    kind = table.schema_arrow.field("text").type
    try:
        pa.array([], kind).cast(pa.large_binary())
    except pa.ArrowNotImplementedError:
        raise UserError(f"{path}: the `text` column is of type {kind}; expected string") from None
    for _, values in row_groups.rows(table, ["text"]):
        if isinstance(values, row_groups.Lost):
            raise UserError(f"{path}: damaged or not parquet ({values.reason}); fetch it again")
        yield values[0]
