"""The files of a source, in a fixed order, and what is passed over."""

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
    """A file that is to be read."""

    path: str
    """Where it is: absolute, or an address."""
    name: str
    """Within its source: the path that the recipe gives, and below it; the same wherever `root` lies."""
    source: str
    kind: kinds.Kind
    size: int | None
    """Bytes, as they lie there; None if only reading tells."""
    changed: str
    """What changes when its content does, or its licence's: the time of the last change, or a store's tag."""
    licences: Around = ()
    """Of code: the files that speak of licences in its folder and in those above, by folder."""


@dataclass(frozen=True)
class Passed:
    """A file or folder that is not read, because it is nothing to read, and why."""

    source: str
    name: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """A file or folder, or a record of a file, that cannot be read, and why."""

    source: str
    name: str
    reason: str
    size: int = field(default=0, compare=False)
    """Bytes that are lost with it: of a record, decompressed; of a file, as they lie there."""
    is_file: bool = field(default=False, compare=False)
    """True of a file as such or of a folder, False of one record."""
    may_pass: bool = field(default=False, compare=False)
    """True where the same bytes may be readable at another time: a file that is missing, a network that fails."""


@dataclass(frozen=True)
class Found:
    """What is in a source: files by name, those passed over, and those that may not be looked at."""

    files: tuple[File, ...]
    passed: tuple[Passed, ...]
    problems: tuple[Problem, ...]


def find_all(sources: dict[str, Source], root: str | None) -> dict[str, Found]:
    """The files of all sources; see `find`. UserError where a file belongs to two: no document is taken twice."""
    found = {name: find(source, root, name) for name, source in sources.items()}
    owners: dict[str, str] = {}
    for name, of_source in found.items():
        for file in of_source.files:
            owner = owners.setdefault(_identity(file.path), name)
            if owner != name:
                raise UserError(f"corpus.build.sources.{name}.paths: {file.name} is in the source {owner} already; "
                                "leave it out of one of them, since no document is taken twice")  # fmt: skip
    return found


def find(source: Source, root: str | None, source_name: str) -> Found:
    """All files of a source by name, each once, whatever paths lead to it: the first path in the recipe names it.

    root: the folder (or address) that relative paths lie in. UserError names the key where a path is missing, of no
    kind that is read, or holds nothing to read.
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
                nearby.know(listing)
            for below, (where, size, changed) in sorted(listing.files.items()):
                full = _name(name, below)
                kind = kinds.kind(below or name, source, _within(below, listing.checkouts))
                if kind is None and alone and below == "":
                    raise UserError(f"{key}: {where}: not a kind of file that can be read; understood are "
                                    f"{kinds.understood(source)}")  # fmt: skip
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
        tuple(Passed(source_name, name, reason) for name, reason in sorted(passed.items()) if name not in files),
        tuple(Problem(source_name, name, reason, is_file=True) for name, reason in sorted(problems.items())),
    )
    if not found.files:
        raise UserError(f"{key}: no file to read in {', '.join(source.paths)}; {_instead(found, source)}")
    return found


def _instead(found: Found, source: Source) -> str:
    over: list[Problem | Passed] = [*found.problems, *found.passed]
    others = [f"{each.name} ({each.reason})" for each in over]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return f"understood are {kinds.understood(source)}; found {', '.join(others[:_SHOWN]) or 'nothing'}{more}"


def _expanded(given: str, root: str | None, key: str) -> Iterator[tuple[str, str, bool]]:
    """What a path stands for, itself or all that a pattern matches: (name, path, whether the recipe names it)."""
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
    """Returns which directory of ours a match of a pattern lies in, from the last folder that the pattern names on
    (the documents of a corpus may be named). `listed` keeps the names in folders."""
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
    """Returns whether a path that does not exist as it stands is a pattern."""
    return _PATTERN.search(given) is not None


def _name(given: str, below: str) -> str:
    """As UTF-8 can hold it: a file's name may be any bytes."""
    name = below if given == "." and below else posixpath.join(given, below) if below else given
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _identity(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _within(below: str, checkouts: set[str]) -> bool:
    return any(folder.as_posix() in checkouts for folder in PurePosixPath(below).parents)
