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
    """Raised if a disk is full. It names the file that could not be written, and how many bytes it needs."""


@contextlib.contextmanager
def atomic(path: Path, wanted: int = 0) -> Iterator[IO[bytes]]:
    """Opens a temporary file beside `path` for writing; on a clean exit it is synced and renamed onto `path`.

    A signal that ends this process meanwhile removes the temporary file.
    wanted: the size in bytes, if it is known in advance. An OSError in writing names `path`; DiskFull also gives the
    size. Raises UserError if `path` is a device, a pipe or a socket, which the rename would replace.
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
        if isinstance(error, OSError) and _is_about(error, path):
            raise _named(error, path, written) from error
        raise
    sync_directory(path.parent)


@contextlib.contextmanager
def temporary_folder(prefix: str = "palmetto-", inside: Path | None = None) -> Iterator[Path]:
    """Makes a folder that is removed at the context's end, or by a signal that ends this process meanwhile.

    inside: the folder that holds it, by default the system's for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, dir=inside) as folder, _removed_by_signals(folder):
        yield Path(folder)


_unfinished: set[str] = set()
"""The temporary files and folders of this process."""


@contextlib.contextmanager
def _removed_by_signals(path: str) -> Iterator[None]:
    """Has SIGTERM and SIGHUP remove `path`, a file or a folder, before they end this process, until the context's end.

    Nothing changes where they are ignored or heard by another handler, nor in a thread, where Python sets no handlers.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = [n for n in (signal.SIGTERM, signal.SIGHUP) if in_main and signal.getsignal(n) == signal.SIG_DFL]
    _unfinished.add(path)
    for number in ours:
        signal.signal(number, _remove_and_end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        _unfinished.discard(path)


def _remove_and_end(number: int, frame: FrameType | None) -> None:
    for path in tuple(_unfinished):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def naming(path: Path, wanted: int = 0) -> Iterator[None]:
    """Adds `path` to an OSError that names no file; `wanted` is the number of bytes being written."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise _named(error, path, wanted) from error


def _is_about(error: OSError, path: Path) -> bool:
    """Returns whether an error comes from writing `path` or its temporary file, and not from reading another file."""
    if error.filename is None:
        return True
    return isinstance(error.filename, str) and Path(error.filename).name.startswith(f".{path.name}.")


def _named(error: OSError, path: Path, wanted: int) -> OSError:
    """Returns the error with `path` as its file name; DiskFull, with the bytes needed and free, if the disk is full."""
    if error.errno not in _FULL:
        return OSError(error.errno, error.strerror or str(error), str(path))
    free = shutil.disk_usage(path.parent).free
    need = f"at least {wanted:,} bytes are wanted and " if wanted else ""
    return DiskFull(error.errno, f"the disk is full: {need}{free:,} bytes are free", str(path))


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Makes a directory if necessary and locks it for this process.

    Raises UserError if another process holds the lock. On exit, folders that were made here and are still empty are
    removed.
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
    """Returns the locked file; the lock lasts until the file is closed."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            file = (directory / _LOCK).open("a+")
        except FileNotFoundError:  # another process has just removed the empty folder
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
    """Returns whether a process holds the lock of a directory."""
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
    """Turns a full disk into RunStopped. Complete files stay, so that the same command can continue from them."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        full = error if isinstance(error, DiskFull) else _named(error, folder, 0)
        raise RunStopped(f"{full.filename}: {full.strerror}; make room and start again, it goes on from here") from None


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable; the rename of an atomic write is not durable by itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces the content of `path` by `data` atomically."""
    with atomic(path, len(data)) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Replaces the content of `path` by `text`, in UTF-8, atomically."""
    write_bytes(path, text.encode())


def text_bytes(text: str) -> bytes:
    """Encodes any str in UTF-8: a surrogate escape as the byte it stands for, other lone surrogates as three bytes."""
    return b"".join(
        part.encode("utf-8", "surrogatepass" if number % 2 else "surrogateescape")
        for number, part in enumerate(_LONE_SURROGATES.split(text))
    )


def write_json(path: Path, value: Any) -> None:
    """Replaces the content of `path` by `value`, as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file. Raises UserError if it is missing or is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error})") from None


def present(path: Path) -> bool:
    """Returns whether there is a file or folder at `path`.

    Raises UserError for a broken link and for a path that may not be read, since neither means that nothing is there.
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
    """Returns the sorted names in a folder, none if there is no folder. Raises UserError if it cannot be read."""
    if not present(folder):
        return []
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
