"""Files that are either whole or absent: atomic writes, digests and append-only JSON lines."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from palmetto.errors import RunStopped, UserError

_LONE_SURROGATES = re.compile("([\ud800-\udc7f\udd00-\udfff]+)")
"""Those that stand for no byte."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside `path` for writing; on a clean exit it is synced and renamed onto `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes from working in a directory, which is made; UserError if one does."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"{directory}: in use by process {file.read().strip()}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def room(folder: Path) -> Iterator[None]:
    """Says it in a line where the disk is full; what is written whole stays, and can be gone on from."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunStopped(f"{folder}: the disk is full; make room and start again, it goes on from here") from None


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable (the rename of an atomic write is not, by itself)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` atomically."""
    with atomic(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` in UTF-8 atomically."""
    write_bytes(path, text.encode())


def text_bytes(text: str) -> bytes:
    """UTF-8 of any str: surrogate escapes are the bytes that they stand for, other lone surrogates three bytes each."""
    return b"".join(
        part.encode("utf-8", "surrogatepass" if number % 2 else "surrogateescape")
        for number, part in enumerate(_LONE_SURROGATES.split(text))
    )


def write_json(path: Path, value: Any) -> None:
    """Replaces `path` by `value` as indented JSON atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file; UserError names it where it is missing or not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class JsonLines:
    """An append-only file of JSON objects, a line each, that survives kill -9: a torn last line is cut on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        whole = _whole_length(path)
        if whole < self._file.tell():
            self._file.truncate(whole)

    def append(self, value: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system (it survives the process, not yet a power cut)."""
        self._file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Makes every line appended so far durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, a torn last line left out; UserError names a line that is not JSON."""
    if not path.exists():
        return []
    values = []
    for number, line in enumerate(path.read_bytes()[: _whole_length(path)].splitlines(), 1):
        try:
            values.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}: line {number} is not JSON") from None
    return values


def _whole_length(path: Path) -> int:
    """Bytes up to and including the last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
