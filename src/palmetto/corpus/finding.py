"""The files of a source, in a fixed order, and what is passed over.

Local folders are walked here, so that links, cycles and permissions are seen; an address with a scheme (gs://, s3://,
memory://, …) is listed by fsspec.
"""

import glob
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from palmetto.corpus import kinds, licences
from palmetto.corpus.extras import need
from palmetto.errors import UserError, nearest
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
    licences: tuple[str, ...] = ()
    """Of code: paths of the licence files in its folder, or in the nearest one above that has any."""


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


@dataclass(frozen=True)
class Found:
    """What is in a source: files by name, those passed over, and those that may not be looked at."""

    files: tuple[File, ...]
    passed: tuple[Passed, ...]
    problems: tuple[Problem, ...]


@dataclass
class _Listing:
    """Of one path: below it, by name relative to it ("" is itself)."""

    files: dict[str, tuple[str, int | None, str]] = field(default_factory=dict)
    """Path, size, changed."""
    passed: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    checkouts: set[str] = field(default_factory=set)
    """Folders that hold `.git`."""


def find_all(sources: dict[str, Source], root: str | None) -> dict[str, Found]:
    """The files of all sources; see `find`. UserError where a file belongs to two: no document is taken twice."""
    found = {name: find(source, root, name) for name, source in sources.items()}
    owners: dict[str, str] = {}
    for name, of_source in found.items():
        for file in of_source.files:
            owner = owners.setdefault(_identity(file.path), name)
            if owner != name:
                raise UserError(f"corpus.build.sources.{name}.paths: {file.name} belongs to the source {owner} already; "
                                "no document is taken twice, leave it out of one of them")  # fmt: skip
    return found


def find(source: Source, root: str | None, source_name: str) -> Found:
    """All files of a source by name, each once, whatever paths lead to it: the first path in the recipe names it.

    root: the folder (or address) that relative paths lie in. UserError names the key where a path is missing, of no kind
    that is read, or holds nothing to read.
    """
    key = f"corpus.build.sources.{source_name}.paths"
    files: dict[str, File] = {}
    passed: dict[str, str] = {}
    problems: dict[str, str] = {}
    seen: dict[str, str] = {}
    for given in source.paths:
        for name, path, alone in _expanded(given, root, key):
            listing = _list_address(path, key) if "://" in path else _list_folder(path, key)
            shelves = _shelves(listing, source)
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
                    near = licences.nearest(shelves, below) or {}
                    changes = " ".join((changed, *near.values()))
                    files[full] = File(where, full, source_name, kind, size, changes, tuple(near))
            passed.update({_name(name, below): reason for below, reason in listing.passed.items()})
            problems.update({_name(name, below): reason for below, reason in listing.problems.items()})
    found = Found(
        tuple(files[name] for name in sorted(files)),
        tuple(Passed(source_name, name, reason) for name, reason in sorted(passed.items()) if name not in files),
        tuple(Problem(source_name, name, reason) for name, reason in sorted(problems.items())),
    )
    if not found.files:
        raise UserError(f"{key}: no file to read in {', '.join(source.paths)}; {_instead(found, source)}")
    return found


def _instead(found: Found, source: Source) -> str:
    others = [f"{each.name} ({each.reason})" for each in (*found.problems, *found.passed)]
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return f"understood are {kinds.understood(source)}; found {', '.join(others[:_SHOWN]) or 'nothing'}{more}"


def _expanded(given: str, root: str | None, key: str) -> Iterator[tuple[str, str, bool]]:
    """(name, path, whether the recipe names it itself) of what a path stands for: itself, or all that a pattern matches."""
    if "://" in given or "://" in (root or ""):
        path = given if "://" in given else f"{(root or '').rstrip('/')}/{given}"
        if not _PATTERN.search(path):
            yield given, path, True
            return
        system, inner = _system(path, key)
        prefix = path[: len(path) - len(inner)] if path.endswith(inner) else f"{path.split('://')[0]}://"
        cut = len(path) - len(given)
        matches = [
            prefix + match.lstrip("/") if prefix.endswith("/") else prefix + match for match in system.glob(inner)
        ]
        names = [(match[cut:] if path.startswith(match[:cut]) else match, match, False) for match in sorted(matches)]
    else:
        base = Path(root or ".").absolute()
        path = os.path.normpath(base / given)
        if os.path.lexists(path) or not _PATTERN.search(given):
            yield os.path.normpath(given), path, True
            return
        matched = sorted(glob.glob(given, root_dir=base, recursive=True))
        names = [(os.path.normpath(match), os.path.normpath(base / match), False) for match in matched]
    if not names:
        raise UserError(f"{key}: {given}: nothing matches it in {root or 'the working directory'}")
    yield from names


def _name(given: str, below: str) -> str:
    """As UTF-8 can hold it: a file's name may be any bytes."""
    return os.fsencode(posixpath.join(given, below) if below else given).decode("utf-8", "backslashreplace")


def _identity(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _within(below: str, checkouts: set[str]) -> bool:
    return any(folder.as_posix() in checkouts for folder in PurePosixPath(below).parents)


def _shelves(listing: _Listing, source: Source) -> dict[str, dict[str, str]]:
    """Of code: the licence files of each folder that has any, and when they changed."""
    shelves: dict[str, dict[str, str]] = {}
    if source.kind == "code":
        for below, (path, _, changed) in sorted(listing.files.items()):
            if licences.is_licence_file(PurePosixPath(below).name):
                shelves.setdefault(PurePosixPath(below).parent.as_posix(), {})[path] = changed
    return shelves


def _list_folder(path: str, key: str) -> _Listing:
    listing = _Listing()
    try:
        status = os.stat(path)
    except PermissionError:
        listing.problems[""] = "no permission to look at it"
    except OSError:
        raise UserError(f"{key}: {path}: {_missing(path)}") from None
    else:
        if stat.S_ISDIR(status.st_mode):
            _walk(Path(path), "", {(status.st_dev, status.st_ino)}, listing)
        else:
            listing.files[""] = (path, status.st_size, str(status.st_mtime_ns))
    return listing


def _missing(path: str) -> str:
    """What is there instead of a path that is not."""
    if os.path.islink(path):
        return "a link to nothing"
    parent, name = Path(path).parent, Path(path).name
    while not parent.is_dir():
        parent, name = parent.parent, parent.name
    try:
        return f"no such file or folder{nearest(name, sorted(os.listdir(parent)))}"
    except PermissionError:
        return f"no permission to look into {parent}"


def _walk(folder: Path, below: str, entered: set[tuple[int, int]], listing: _Listing) -> None:
    """Links are followed; each folder is entered once, so that cycles end."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        listing.problems[below] = _refusal(error, "look into it")
        return
    for name in names:
        path, inner = folder / name, posixpath.join(below, name)
        if name.startswith("."):
            listing.passed[inner] = "hidden"
            if name == ".git":
                listing.checkouts.add(below or ".")
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            listing.passed[inner] = "a link to nothing"
        except OSError as error:
            # ELOOP: a link to itself.
            listing.problems[inner] = _refusal(error, "look at it")
        else:
            if stat.S_ISREG(status.st_mode):
                listing.files[inner] = (str(path), status.st_size, str(status.st_mtime_ns))
            elif not stat.S_ISDIR(status.st_mode):
                listing.passed[inner] = "not a regular file"
            elif (status.st_dev, status.st_ino) in entered:
                listing.passed[inner] = "a link to a folder that is read already"
            else:
                entered.add((status.st_dev, status.st_ino))
                _walk(path, inner, entered, listing)


def _refusal(error: OSError, what: str) -> str:
    return f"no permission to {what}" if isinstance(error, PermissionError) else str(error.strerror or error)


def _system(address: str, key: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and the path within it."""
    core = need("fsspec.core")
    try:
        system, path = core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{key}: {address}: {error}") from None
    return system, path


def _list_address(address: str, key: str) -> _Listing:
    system, base = _system(address, key)
    try:
        above = system.info(base)
        entries = {base: above} if above["type"] == "file" else system.find(base, detail=True)
    except PermissionError:
        listing = _Listing()
        listing.problems[""] = "no permission to look at it"
        return listing
    except FileNotFoundError:
        raise UserError(f"{key}: {address}: no such file or folder") from None
    except OSError as error:
        raise UserError(f"{key}: {address}: cannot be listed ({error.strerror or error})") from None
    listing = _Listing()
    for path, info in sorted(entries.items()):
        below = path[len(base) :].strip("/")
        parts = PurePosixPath(below).parts
        hidden = next((number for number, part in enumerate(parts) if part.startswith(".")), None)
        if hidden is not None:
            listing.passed[posixpath.join(*parts[: hidden + 1])] = "hidden"
            if parts[hidden] == ".git":
                listing.checkouts.add(posixpath.join(*parts[:hidden]) if hidden else ".")
        elif info["type"] == "file":
            tags = (
                info.get(key)
                for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
            )
            changed = next((str(tag) for tag in tags if tag is not None), "")
            listing.files[below] = (system.unstrip_protocol(path), info.get("size"), changed)
    return listing
