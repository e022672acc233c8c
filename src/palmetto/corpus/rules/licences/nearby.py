"""Finds the files that state licences around a file of code: in its folder and in the folders above."""

import contextlib
import os
import posixpath
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from palmetto.corpus.reading import encoding
from palmetto.corpus.reading.listing import CHANGED, Listing, file_system, irregular
from palmetto.corpus.reading.opening import opened
from palmetto.corpus.rules.licences.files import FOLDERS, Statement, place, statement
from palmetto.corpus.rules.licences.repository import nearest_licence

Around = tuple[tuple[str, tuple[str, ...]], ...]
"""Folders with such files, from a file's own folder to the topmost, and the files' paths."""

_Entries = dict[str, tuple[bool, str]]
"""The entries of a folder by name: whether each is a folder, and when it changed."""
_CHARACTERS = 1 << 20
_PATH = 300
"""The size below which a file may hold only another's path, as git writes symbolic links where there are none."""


class Nearby:
    """Finds these files once per folder, whether the folder, a pattern or a single file was given.

    It climbs to `root`, so its location does not matter. From a path outside `root`, it climbs to the top of the
    checkout (the folder with `.git`), or else of the file system.
    """

    def __init__(self, root: str | None, key: str) -> None:
        self._key = key
        if root and "://" in root:
            system, inner = file_system(root, key)
            self._root = system.unstrip_protocol(inner).rstrip("/")
        else:
            self._root = os.path.normpath(Path(root or ".").absolute())
        self._entries: dict[str, _Entries] = {}
        self._around: dict[str, tuple[Around, str]] = {}

    def add(self, listing: Listing) -> None:
        """Adds the files listed at an address, because listing a store folder by folder is slow."""
        for below, (path, _, changed) in listing.files.items():
            folder = path[: len(path) - len(below)].rstrip("/")
            *folders, name = below.split("/")
            for inner in folders:
                self._entries.setdefault(folder, {})[inner] = True, ""
                folder = _join(folder, inner)
            entries = self._entries.setdefault(folder, {}) if below else {}
            if _is_of_interest(folder, name):
                entries[name] = False, changed

    def of(self, path: str) -> tuple[Around, str]:
        """Returns the files around a path, and a value that changes when one of them does."""
        folder = _parent(path)
        waiting: list[str] = []
        while folder not in self._around:
            waiting.append(folder)
            if self._is_top(folder):
                break
            folder = _parent(folder)
        around, changes = self._around.get(folder, ((), ""))
        for below in reversed(waiting):
            if files := self._licence_files(below):
                around = ((below, tuple(files)), *around)
                changes = " ".join(filter(None, (*files.values(), changes)))
            self._around[below] = around, changes
        return around, changes

    def _is_top(self, folder: str) -> bool:
        if folder in (self._root, _parent(folder)):
            return True
        within = folder.startswith(f"{self._root.rstrip('/')}/")
        return not within and ".git" in self._listed(folder)

    def _licence_files(self, folder: str) -> dict[str, str]:
        """Returns the files that apply to a folder, by path, and when they changed."""
        found: dict[str, str] = {}
        for name, (is_folder, changed) in sorted(self._listed(folder).items()):
            inner = [(name, changed)]
            if is_folder:
                below = self._listed(_join(folder, name)) if FOLDERS.match(name) else {}
                inner = [(f"{name}/{each}", when) for each, (deeper, when) in sorted(below.items()) if not deeper]
            for path, when in inner:
                placed = place(path)
                if placed is not None and placed[0] == ".":
                    found[_join(folder, path)] = when
        return found

    def _listed(self, folder: str) -> _Entries:
        if folder not in self._entries:
            self._entries[folder] = _at_address(folder, self._key) if "://" in folder else _in_folder(folder)
        return self._entries[folder]


def _parent(path: str) -> str:
    scheme, mark, inner = path.rpartition("://")
    above = posixpath.dirname(inner.rstrip("/")) if inner.strip("/") else inner
    return f"{scheme}{mark}{above}" if above or not mark else path


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _in_folder(folder: str) -> _Entries:
    """Returns the entries of a folder that may concern licences; none if it cannot be listed."""
    found: _Entries = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name == ".git" or (FOLDERS.match(entry.name) and entry.is_dir()):
                found[entry.name] = True, ""
            elif _is_of_interest(folder, entry.name) and not entry.is_dir():
                found[entry.name] = False, _changed(entry)
    return found


def _is_of_interest(folder: str, name: str) -> bool:
    return place(name) is not None or place(f"{posixpath.basename(folder)}/{name}") is not None


def _changed(entry: "os.DirEntry[str]") -> str:
    try:
        return str(entry.stat().st_mtime_ns)
    except OSError:
        return str(entry.stat(follow_symlinks=False).st_mtime_ns)


def _at_address(folder: str, key: str) -> _Entries:
    system, inner = file_system(folder, key)
    try:
        listed: list[Mapping[str, object]] = system.ls(inner, detail=True)
    except (OSError, ValueError):
        return {}
    return {
        posixpath.basename(str(info["name"]).rstrip("/")): (
            info.get("type") == "directory",
            next((str(info[tag]) for tag in CHANGED if info.get(tag) is not None), ""),
        )
        for info in listed
    }


def licence(path: str, around: Around) -> str | None:
    """Returns the licence of a file of code according to the files around it."""
    return nearest_licence(
        (path[len(folder.rstrip("/")) + 1 :], tuple(found for each in files if (found := _statement(each, folder))))
        for folder, files in around
    )


@lru_cache(1 << 12)
def _statement(path: str, folder: str) -> Statement | None:
    below = path[len(folder.rstrip("/")) + 1 :]
    placed = place(below)
    return statement(below, placed[1], _text(path)) if placed else None


def _text(path: str) -> str:
    """Returns the text of a file, or of the file whose path it holds; for a link that cannot be followed, its
    target.
    """
    text = _read(path)
    if "://" not in path and len(text) < _PATH and "/" in text and len(text.split()) == 1:
        text = _read(os.path.normpath(os.path.join(os.path.dirname(path), text.strip()))) or text
    return text


def _read(path: str) -> str:
    if "://" not in path and irregular(path):
        return ""
    try:
        with opened(path) as stream:
            return encoding.decode(stream.file.read(_CHARACTERS))
    except (OSError, ValueError):
        return os.readlink(path) if "://" not in path and os.path.islink(path) else ""
