"""Reads documents from a source: the running Python's own text, a file, or a folder of files.

Text is never changed: no newline is translated, and bytes that are not UTF-8 are kept as surrogate escapes. `survey`
counts what is skipped: files of other kinds and empty documents.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from palmetto.corpus.reading import formats, outputs, python_text
from palmetto.corpus.reading.listing import irregular, missing
from palmetto.errors import UserError

PYTHON = "python"
MANIFEST = "manifest.json"
"""The file that marks a folder as a built corpus (build.py); of such a folder only DOCUMENTS is read."""
DOCUMENTS = "documents"
VOCABULARY = "vocabulary.model"
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Document:
    """A text and its origin: ``file.txt``, ``file.jsonl:LINE`` or ``file.parquet:ROW``, with ``#N`` for section N."""

    text: str
    name: str

    @property
    def size(self) -> int:
        """The number of bytes of UTF-8; a byte that is not UTF-8 counts as one."""
        return len(_bytes(self.text)) - 2 * len(_ESCAPED_BYTE.findall(self.text))


class Ignored(NamedTuple):
    """A file or folder of the source that is not read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Survey:
    """The contents of a source: files read and not read, documents with text and without, and bytes of UTF-8 text."""

    files: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    documents: int
    empty: int
    bytes: int


def read(source: str, section_bytes: int) -> Iterator[Document]:
    """Yields the non-empty documents of `source` ("python" or a path) in a fixed order.

    A document longer than `section_bytes` is cut into sections (see `cut`), each a document of its own, so that one
    book can contribute to both sides of a split. If the source yields one section only, that is cut anywhere (see
    `cut_anywhere`). Raises UserError if there is nothing to read or a file cannot be read.
    """
    sections = _sections(_texts(source), section_bytes, cut)
    first, second = next(sections), next(sections, None)
    if second is not None:
        yield first
        yield second
        yield from sections
    else:
        # A single text without a usable line break must become several, or nothing could be held out.
        yield from _sections([(first.name, first.text)], section_bytes, cut_anywhere)


def _sections(
    texts: Iterable[tuple[str, str]], section_bytes: int, cutting: Callable[[str, int], list[str]]
) -> Iterator[Document]:
    for name, text in texts:
        sections = cutting(text, section_bytes)
        for number, section in enumerate(sections, 1):
            yield Document(section, name if len(sections) == 1 else f"{name}#{number}")


def survey(source: str) -> Survey:
    """Reads `source` once and counts what `read` yields, before it is cut into sections, and what is skipped."""
    documents = empty = size = 0
    for name, text in _texts(source):
        documents += bool(text)
        empty += not text
        size += Document(text, name).size
    if source == PYTHON:
        files = tuple(name for name, _ in python_text.texts())
        ignored = tuple(Ignored(name, "not the library's own text") for name in sorted(python_text.EXCLUDED_FOLDERS))
    else:
        paths, ignored = _files(source)
        files = tuple(paths)
    return Survey(files, ignored, documents, empty, size)


def fingerprint(source: str) -> str:
    """Returns the SHA-256 (hex) of the relative names and contents of all files read, wherever they lie."""
    total = hashlib.sha256()

    def add(name: str, content: bytes) -> None:
        total.update(hashlib.sha256(_bytes(name)).digest() + content)

    if source == PYTHON:
        for name, text in _texts(source):
            add(name, hashlib.sha256(_bytes(text)).digest())
    else:
        for name, path in _files(source)[0].items():
            add(name, formats.digest(path))
    return total.hexdigest()


def cut(text: str, section_bytes: int) -> list[str]:
    """Cuts `text` after the first newline that follows every `section_bytes` bytes of UTF-8.

    The sections joined give `text`. No section is empty; an empty text has none. A surrogate counts as 3 bytes.
    """
    return [section.decode("utf-8", "surrogatepass") for section in cut_bytes(_bytes(text), section_bytes)]


def cut_anywhere(text: str, section_bytes: int) -> list[str]:
    """Cuts `text` after the last space within every `section_bytes` bytes of UTF-8.

    Where there is no space, the cut is before the character that would exceed the limit. The sections joined give
    `text`; no section is empty.
    """
    sections, data = [], _bytes(text)
    while len(data) > section_bytes:
        end = data.rfind(b" ", 0, section_bytes) + 1 or section_bytes
        while end > 1 and data[end] & 0xC0 == 0x80:  # the cut is inside a character: move before it
            end -= 1
        while end < len(data) and data[end] & 0xC0 == 0x80:  # the character is longer than a section: move after it
            end += 1
        sections.append(data[:end])
        data = data[end:]
    return [section.decode("utf-8", "surrogatepass") for section in (*sections, data) if section]


def cut_bytes(data: bytes, section_bytes: int) -> Iterator[bytes]:
    """Yields the sections of UTF-8 bytes, cut as `cut` does."""
    start = 0
    while start < len(data):
        newline = data.find(b"\n", start + section_bytes)
        end = newline + 1 if newline >= 0 else len(data)
        yield data[start:end]
        start = end


def _bytes(text: str) -> bytes:
    """Returns the text as UTF-8, with every surrogate kept."""
    return text.encode("utf-8", "surrogatepass")


def _texts(source: str) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of every document, uncut, empty ones included; raises UserError if none has any text."""
    anything = False
    for name, text in python_text.texts() if source == PYTHON else _file_texts(source):
        anything = anything or bool(text)
        yield name, text
    if not anything:
        raise UserError(f"{source}: no text in it, only empty documents; give another source (--source PATH)")


def _file_texts(source: str) -> Iterator[tuple[str, str]]:
    for name, path in _files(source)[0].items():
        yield from formats.read(path, name)


def _files(source: str) -> tuple[dict[str, Path], tuple[Ignored, ...]]:
    """Returns the files to read, sorted by relative name, and what is skipped; raises UserError if there is none."""
    try:
        return _list(source)
    except PermissionError as error:
        raise UserError(
            f"{error.filename}: no permission to look into it; allow it (chmod +rx) or leave it out"
        ) from None


def _list(source: str) -> tuple[dict[str, Path], tuple[Ignored, ...]]:
    if not source:
        raise UserError(f"an empty path is no source; give a file or a folder (`.` is this one), or `{PYTHON}`")
    root = Path(source)
    if root.is_file():
        if formats.extension(root.name) is None:
            raise UserError(f"{source}: not a kind of file that can be read; understood are {formats.UNDERSTOOD}")
        return {root.name: root}, ()
    if what := irregular(source):
        raise UserError(f"{source}: {what}; text is read several times, so write it to a file first")
    if not root.is_dir():
        raise UserError(f"{source}: {missing(source)}; give a path, or `{PYTHON}` for the text of this Python")
    if (root / MANIFEST).is_file() and (root / DOCUMENTS).is_dir():
        root = root / DOCUMENTS
    elif what := outputs.recognized(os.listdir(root)):
        raise UserError(f"{source}: {what}, which is no text; give another source, or another directory with --run")
    files: dict[str, Path] = {}
    ignored: list[Ignored] = []
    for path, reason in _walk(root, set()):
        name = path.relative_to(root).as_posix()
        if reason:
            ignored.append(Ignored(name, reason))
        else:
            files[name] = path
    if not files:
        found = ", ".join(name for name, _ in ignored[:5]) or "nothing"
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        raise UserError(f"{source}: no file to read; understood are {formats.UNDERSTOOD}; found {found}{more}")
    return dict(sorted(files.items())), tuple(sorted(ignored))


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
    """Yields each path with the reason that it is not read, or "".

    Links are followed. Every folder is entered once, so cycles of links end.
    """
    status = folder.stat()
    seen.add((status.st_dev, status.st_ino))
    names = sorted(os.listdir(folder))
    if what := outputs.recognized(names):
        yield folder, what
        return
    for name in names:
        path = folder / name
        if name.startswith("."):
            yield path, "hidden"
        elif path.is_dir():
            status = path.stat()
            if (status.st_dev, status.st_ino) in seen:
                yield path, "a link to a folder read already"
            else:
                yield from _walk(path, seen)
        elif not path.is_file():
            yield path, "a link to nothing" if path.is_symlink() else "not a regular file"
        elif formats.extension(name) is None:
            yield path, "not a kind of file that can be read"
        else:
            yield path, ""
