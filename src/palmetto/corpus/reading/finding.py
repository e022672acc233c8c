"""Finds the files of a source, in a fixed order, and what is passed over."""

import contextlib
import glob
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from palmetto.corpus.reading import kinds, outputs
from palmetto.corpus.reading.listing import file_system, list_address, list_folder
from palmetto.corpus.rules.licences.nearby import Around, Nearby
from palmetto.errors import UserError
from palmetto.recipe.corpus import Source

_PATTERN = re.compile(r"[*?\[]")
_SHOWN = 5


@dataclass(frozen=True)
class File:
    """A file to be read."""

    path: str
    """The absolute path or the address."""
    name: str
    """The path as the recipe gives it and below; it does not depend on `root`."""
    source: str
    kind: kinds.Kind
    size: int | None
    """The size in bytes as stored; None if unknown before reading."""
    changed: str
    """A value that changes with the content or the licences: the time of the last change, or a store's tag."""
    licences: Around = ()
    """The files on licences in the folder of a file of code and in the folders above, by folder."""


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that has nothing to read, and the reason."""

    source: str
    name: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """A file, a folder or a record that cannot be read, and the reason."""

    source: str
    name: str
    reason: str
    size: int = field(default=0, compare=False)
    """The bytes lost: of a record decompressed, of a file as stored."""
    is_file: bool = field(default=False, compare=False)
    """True for a file or folder, False for a record."""
    may_pass: bool = field(default=False, compare=False)
    """True if the problem may be temporary, such as a missing file or a network failure."""


@dataclass(frozen=True)
class Found:
    """The contents of a source: files sorted by name, those passed over, and those that cannot be listed."""

    files: tuple[File, ...]
    passed: tuple[PassedOver, ...]
    problems: tuple[Problem, ...]


def find_all(sources: dict[str, Source], root: str | None) -> dict[str, Found]:
    """Returns the files of all sources (see `find`); raises UserError if a file belongs to two sources."""
    found = {name: find(source, root, name) for name, source in sources.items()}
    owners: dict[str, str] = {}
    for name, of_source in found.items():
        for file in of_source.files:
            owner = owners.setdefault(_identity(file.path), name)
            if owner != name:
                raise UserError(
                    f"corpus.build.sources.{name}.paths: {file.name} is in the source {owner} already; "
                    "leave it out of one of them, since no document is taken twice"
                )
    return found


def find(source: Source, root: str | None, source_name: str) -> Found:
    """Returns all files of a source by name, each once; the first path of the recipe that leads to a file names it.

    root: the folder or address that relative paths start from. Raises UserError, which names the recipe's key, if a
    path is missing, of an unreadable kind, or holds nothing to read.
    """
    key = f"corpus.build.sources.{source_name}.paths"
    files: dict[str, File] = {}
    passed: dict[str, str] = {}
    problems: dict[str, str] = {}
    seen: dict[str, str] = {}
    listed: dict[str, list[str]] = {}
    nearby = Nearby(root, key) if source.kind == "code" else None
    for given in source.paths:
        for name, path, alone in _expanded(given, root, key):
            if not alone and (what := _within_ours(given, name, path, listed)):
                passed[name] = what
                continue
            listing = list_address(path, key) if "://" in path else list_folder(path, key)
            if alone and "" in listing.passed:
                raise UserError(f"{key}: {path}: {listing.passed['']}; name what is to be read")
            if nearby and "://" in path:
                nearby.add(listing)
            for below, (where, size, changed) in sorted(listing.files.items()):
                full = _name(name, below)
                kind = kinds.kind(below or name, source, _within(below, listing.checkouts))
                if kind is None and alone and below == "":
                    understood = kinds.understood(source)
                    raise UserError(f"{key}: {where}: not a kind of file that can be read; understood are {understood}")
                if kind is None:
                    passed[full] = "not a kind of file that is read"
                elif (first := seen.setdefault(_identity(where), full)) != full:
                    passed[full] = f"the same file as {first}"
                else:
                    around, changes = nearby.of(where) if nearby and kind == "code" else ((), "")
                    files[full] = File(where, full, source_name, kind, size, f"{changed} {changes}".strip(), around)
            passed.update({_name(name, below): reason for below, reason in listing.passed.items()})
            problems.update({_name(name, below): reason for below, reason in listing.problems.items()})
    found = Found(
        tuple(files[name] for name in sorted(files)),
        tuple(PassedOver(source_name, name, reason) for name, reason in sorted(passed.items()) if name not in files),
        tuple(Problem(source_name, name, reason, is_file=True) for name, reason in sorted(problems.items())),
    )
    if not found.files:
        raise UserError(f"{key}: no file to read in {', '.join(source.paths)}; {_instead(found, source)}")
    return found


def _instead(found: Found, source: Source) -> str:
    over: list[Problem | PassedOver] = [*found.problems, *found.passed]
    others = [f"{each.name} ({each.reason})" for each in over]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return f"understood are {kinds.understood(source)}; found {', '.join(others[:_SHOWN]) or 'nothing'}{more}"


def _expanded(given: str, root: str | None, key: str) -> Iterator[tuple[str, str, bool]]:
    """Yields (name, path, whether the recipe names it) for a path, or for everything that a pattern matches."""
    if "://" in given or "://" in (root or ""):
        below = "" if "://" in given else f"{(root or '').rstrip('/')}/"
        path = below + given
        if not _PATTERN.search(path):
            yield given, path, True
            return
        system, inner = file_system(path, key)
        cut = len(system.unstrip_protocol(file_system(below, key)[1])) + 1 if below else 0
        matches = [system.unstrip_protocol(match) for match in sorted(system.glob(inner))]
        names = [(match[cut:], match, False) for match in matches]
    else:
        base = Path(root or ".").absolute()
        given = os.path.expanduser(given)
        path = os.path.normpath(base / given)
        if os.path.lexists(path) or not _PATTERN.search(given):
            yield os.path.normpath(given), path, True
            return
        matched = sorted(glob.glob(given, root_dir=base, recursive=True))
        names = [(os.path.normpath(match), os.path.normpath(base / match), False) for match in matched]
    if not names:
        raise UserError(f"{key}: {given}: nothing matches it in {root or 'the working directory'}")
    yield from names


def _within_ours(given: str, name: str, path: str, listed: dict[str, list[str]]) -> str | None:
    """Returns which of Palmetto's directories a match of a pattern lies in, or None.

    Only folders that the pattern matched are considered, so the recipe may name the documents of a corpus. listed:
    caches the names in folders.
    """
    if "://" in path:
        return None
    parts = PurePosixPath(os.path.normpath(os.path.expanduser(given))).parts
    literal = next(number for number, part in enumerate(parts) if _PATTERN.search(part))
    for folder in map(str, list(Path(path).parents)[: len(PurePosixPath(name).parts) - max(literal, 1)]):
        if folder not in listed:
            with contextlib.suppress(OSError):
                listed[folder] = os.listdir(folder)
        if what := outputs.recognized(listed.get(folder, ())):
            return f"in {what}"
    return None


def is_pattern(given: str) -> bool:
    """Returns whether a path has the characters of a pattern."""
    return _PATTERN.search(given) is not None


def _name(given: str, below: str) -> str:
    """Returns a file's name as valid UTF-8; on disk it may be any bytes."""
    name = below if given == "." and below else posixpath.join(given, below) if below else given
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _identity(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _within(below: str, checkouts: set[str]) -> bool:
    return any(folder.as_posix() in checkouts for folder in PurePosixPath(below).parents)
