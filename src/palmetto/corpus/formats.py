"""The files text is read from: .txt, .md, .jsonl and .parquet, each also .gz or .zst."""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from palmetto.errors import UserError

EXTENSIONS = (".txt", ".md", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".zst")
UNDERSTOOD = f"{', '.join(EXTENSIONS)}, each also {' or '.join(COMPRESSIONS)}"


def extension(name: str) -> str | None:
    """Which of EXTENSIONS a file name has, below its compression if any; None if it is no kind of text we read."""
    path = PurePath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in EXTENSIONS else None


def read(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each document in a file; a `text` that is null is an empty document.

    UserError where the file is damaged, or is not what its name says.
    """
    kind = extension(path.name)
    with opened(path) as file:
        if kind == ".jsonl":
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{name}:{number}", _json_text(line, f"{path}: line {number}")
        elif kind == ".parquet":
            for row, value in enumerate(_parquet_texts(file, path)):
                yield f"{name}:{row}", (value or b"").decode("utf-8", "surrogateescape")
        else:
            yield name, file.read().decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Opens a file for reading, decompressed; what goes wrong while it is open becomes a UserError naming it."""
    try:
        with path.open("rb") as raw, _decompressed(raw, path.suffix.lower()) as file:
            yield file
    except PermissionError:
        raise UserError(f"{path}: no permission to read it; allow it (chmod +r) or leave it out") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, _ZstdDamaged) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); fetch it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def _decompressed(raw: io.BufferedIOBase, suffix: str) -> io.BufferedIOBase:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if suffix == ".zst":
        return io.BufferedReader(_ZstdReader(raw), 1 << 20)
    return raw


class _ZstdDamaged(Exception):
    """Like gzip's EOFError and BadGzipFile."""


class _ZstdReader(io.RawIOBase):
    """Reads .zst frames one after another, and notices an end in mid-frame, which zstandard's own reader does not."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        import zstandard

        self._raw = raw
        self._error = zstandard.ZstdError
        self._new_frame = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._rest = b""  # compressed bytes not yet decompressed
        self._ready = b""  # decompressed bytes not yet handed out

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            compressed = self._rest or self._raw.read(1 << 17)
            if not compressed:
                if self._frame is not None:
                    raise _ZstdDamaged("the compressed file ends in mid-frame")
                return 0
            self._decompress(compressed)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _decompress(self, compressed: bytes) -> None:
        if self._frame is None:
            self._frame = self._new_frame()
        try:
            self._ready = self._frame.decompress(compressed)
        except self._error as error:
            raise _ZstdDamaged(str(error)) from None
        self._rest = self._frame.unused_data
        if self._frame.eof:
            self._frame = None


def _json_text(line: bytes, place: str) -> str:
    try:
        record = json.loads(line.decode("utf-8", "surrogateescape"))
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


def _parquet_texts(file: io.BufferedIOBase, path: Path) -> Iterator[bytes | None]:
    """The `text` column as bytes, so that text in another encoding comes through as it is."""
    import pyarrow
    from pyarrow import parquet

    try:
        # Parquet is read from its end: what cannot seek (zstd) or seeks slowly (gzip) is decompressed first.
        compressed = path.suffix.lower() in COMPRESSIONS
        table = parquet.ParquetFile(io.BytesIO(file.read()) if compressed else file)
        columns = table.schema_arrow.names
        if "text" not in columns:
            found = ", ".join(map(repr, columns)) or "none"
            raise UserError(f"{path}: no `text` column (its columns: {found}); rename the one that holds the text")
        for batch in table.iter_batches(columns=["text"]):
            yield from batch.column("text").cast(pyarrow.large_binary()).to_pylist()
    except pyarrow.ArrowNotImplementedError:
        kind = table.schema_arrow.field("text").type
        raise UserError(f"{path}: the `text` column is of type {kind}; expected string") from None
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: damaged or not parquet ({str(error).splitlines()[0]}); fetch it again") from None
