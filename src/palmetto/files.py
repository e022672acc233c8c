"""Files that are either whole or absent: atomic writes, digests and append-only JSON lines."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

from palmetto.errors import RunStopped, UserError

_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONE_SURROGATES = re.compile("([\ud800-\udc7f\udd00-\udfff]+)")
"""Matches the surrogates that stand for no byte."""


class DiskFull(OSError):
    """Names the file that could not be written, and says how much is wanted for it."""


@contextlib.contextmanager
def atomic(path: Path, wanted: int = 0) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside `path` for writing; on a clean exit it is synced and renamed onto `path`.

    A signal that ends this process meanwhile removes the temporary file.
    wanted: the bytes to come, where they are known. OSError names `path`; DiskFull says what is wanted. UserError where
    a device, a pipe or a socket is there, which would be gone.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(f"{path}: a device, a pipe or a socket; expected a path at which a file can be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, written = "", wanted
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with _removed_by_signals(temporary):
            with os.fdopen(descriptor, "wb") as file:
                try:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                finally:
                    written = max(wanted, file.tell())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        if isinstance(error, OSError) and _is_of(error, path):
            raise _named(error, path, written) from error
        raise
    sync_directory(path.parent)


_unfinished: set[str] = set()
"""The temporary files of this process."""


@contextlib.contextmanager
def _removed_by_signals(file: str) -> Iterator[None]:
    """Has SIGTERM and SIGHUP remove `file` before they end this process, until the context's end.

    Nothing changes where they are ignored or heard by another handler, nor in a thread, where Python sets no handlers.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if in_main and signal.getsignal(n) == signal.SIG_DFL]
    _unfinished.add(file)
    for number in ours:
        signal.signal(number, _remove_and_end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        _unfinished.discard(file)


def _remove_and_end(number: int, frame: FrameType | None) -> None:
    for file in tuple(_unfinished):
        with contextlib.suppress(OSError):
            os.unlink(file)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def naming(path: Path, wanted: int = 0) -> Iterator[None]:
    """Gives an error in writing `wanted` bytes to `path` its name, where the system says none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise _named(error, path, wanted) from error


def _is_of(error: OSError, path: Path) -> bool:
    """Returns whether an error is about writing `path` (or its temporary file), not about what is read meanwhile."""
    if error.filename is None:
        return True
    return isinstance(error.filename, str) and Path(error.filename).name.startswith(f".{path.name}.")


def _named(error: OSError, path: Path, wanted: int) -> OSError:
    """The same error of `path`; where the disk is full it says how much is wanted, in bytes."""
    if error.errno not in _FULL:
        return OSError(error.errno, error.strerror or str(error), str(path))
    free = shutil.disk_usage(path.parent).free
    need = f"at least {wanted:,} bytes are wanted and " if wanted else ""
    return DiskFull(error.errno, f"the disk is full: {need}{free:,} bytes are free", str(path))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keeps other processes from working in a directory, which is made; UserError if one does.

    Folders that were made for it, and in which nothing has been written, are removed again.
    """
    made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    with _lock(directory) as file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            if made and os.listdir(directory) == [_LOCK]:
                (directory / _LOCK).unlink()
                with contextlib.suppress(OSError):  # another process has written into it
                    for folder in made:
                        folder.rmdir()


def _lock(directory: Path) -> IO[str]:
    """The lock's file, held by this process until it is closed."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            file = (directory / _LOCK).open("a+")
        except FileNotFoundError:  # the folder has just been removed, as nothing was in it
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                raise UserError(f"{directory}: in use by process {file.read().strip()}") from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), (directory / _LOCK).stat()):
                return file
        file.close()


def is_locked(directory: Path) -> bool:
    """Returns whether a process works in a directory that it keeps others from."""
    try:
        with (directory / _LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def room(folder: Path) -> Iterator[None]:
    """Says it in a line where the disk is full; what is written whole stays, and can be gone on from."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        full = error if isinstance(error, DiskFull) else _named(error, folder, 0)
        raise RunStopped(f"{full.filename}: {full.strerror}; make room and start again, it goes on from here") from None


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable (the rename of an atomic write is not, by itself)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` atomically."""
    with atomic(path, len(data)) as file:
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
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def present(path: Path) -> bool:
    """Returns whether there is a file or folder at `path`.

    UserError for a link that leads nowhere and for what may not be looked at: neither is the same as absence.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        for part in (path, *path.parents):
            if part.is_symlink() and not part.exists():
                raise UserError(
                    f"{part}: a link to {os.readlink(part)}, where nothing is: mount the disk that holds it, or mend "
                    "the link"
                ) from None
        return False
    except OSError as error:
        raise UserError(f"{path}: cannot be looked at ({error.strerror})") from None
    return True


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder, sorted, or none where there is no folder; UserError where it cannot be read."""
    if not present(folder):
        return []
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class JsonLines:
    """An append-only file of JSON objects, a line each, that survives kill -9: a torn last line is cut on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        present(path)  # nothing is written through a link that leads nowhere
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        whole = _whole_length(path)
        if whole < self._file.tell():
            self._file.truncate(whole)

    def append(self, value: dict[str, Any]) -> None:
        """Writes one line and hands it to the operating system (it survives the process, not yet a power cut)."""
        line = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        with naming(self.path, len(line)):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Makes every line appended so far durable."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()


def read_json_lines(path: Path) -> list[Any]:
    """The values of a JSON-lines file, a torn last line left out; UserError names a line that is not JSON.

    Another process may append meanwhile: the file is read once.
    """
    if not present(path):
        return []
    values = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            raise UserError(f"{path}: line {number} is not JSON") from None
    return values


def _whole_length(path: Path) -> int:
    """Bytes up to and including the last newline."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1
