"""Lists the files below a path.

Local folders are walked here, so that links, cycles and permissions are handled; an address with a scheme (gs://,
s3://, memory://, …) is listed by fsspec.
"""

import os
import posixpath
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from palmetto.corpus.extras import need
from palmetto.corpus.reading import outputs
from palmetto.errors import UserError, nearest

CHANGED = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""Names under which stores report that a file changed."""


@dataclass
class Listing:
    """The contents of one path, by name relative to it; "" is the path itself."""

    files: dict[str, tuple[str, int | None, str]] = field(default_factory=dict)
    """The path, size and change tag of each file."""
    passed: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    checkouts: set[str] = field(default_factory=set)
    """Folders that contain `.git`."""


def list_folder(path: str, key: str) -> Listing:
    """Lists a path and everything below; sizes are in bytes, changes are times in ns.

    Raises UserError, which names the recipe's key, if nothing exists there.
    """
    listing = Listing()
    try:
        status = os.stat(path)
    except PermissionError:
        listing.problems[""] = "no permission to look at it"
    except OSError:
        raise UserError(f"{key}: {path}: {missing(path)}") from None
    else:
        if stat.S_ISDIR(status.st_mode):
            _walk(Path(path), {(status.st_dev, status.st_ino)}, listing)
        elif what := irregular(path):
            listing.passed[""] = what
        else:
            listing.files[""] = (path, status.st_size, str(status.st_mtime_ns))
    return listing


_IRREGULAR = {
    stat.S_IFIFO: "a pipe, not a regular file",
    stat.S_IFSOCK: "a socket, not a regular file",
    stat.S_IFCHR: "a device, not a regular file",
    stat.S_IFBLK: "a device, not a regular file",
}


def irregular(path: str) -> str | None:
    """Returns a description of what lies at a path if it is neither a file nor a folder, else None."""
    try:
        return _IRREGULAR.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):
        return None


def missing(path: str) -> str:
    """Returns a description of why nothing exists at a path."""
    if os.path.islink(path):
        return "a link to nothing"
    parent, name = Path(path).parent, Path(path).name
    while not parent.is_dir():
        parent, name = parent.parent, parent.name
    try:
        return f"no such file or folder{nearest(name, sorted(os.listdir(parent)))}"
    except PermissionError:
        return f"no permission to look into {parent}"


def _walk(folder: Path, entered: set[tuple[int, int]], listing: Listing) -> None:
    """Adds everything below a folder to the listing; follows links and enters every folder once, so cycles end."""
    waiting = [(folder, "")]
    while waiting:
        folder, below = waiting.pop()
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            listing.problems[below] = _refusal(error, "look into it")
            continue
        if what := outputs.recognized(names):
            listing.passed[below] = what
            continue
        for name in names:
            path, inner = folder / name, posixpath.join(below, name)
            if name.startswith("."):
                listing.passed[inner] = "hidden"
                if name == ".git":
                    listing.checkouts.add(below or ".")
            elif (identity := _look(path, inner, listing)) in entered:
                listing.passed[inner] = "a folder that is read already"
            elif identity is not None:
                entered.add(identity)
                waiting.append((path, inner))


def _look(path: Path, below: str, listing: Listing) -> tuple[int, int] | None:
    """Returns a folder's identity; adds anything else to the listing and returns None."""
    try:
        status = path.stat()
    except FileNotFoundError:
        listing.passed[below] = "a link to nothing"
    except OSError as error:
        listing.problems[below] = _refusal(error, "look at it")
    else:
        if stat.S_ISDIR(status.st_mode):
            return status.st_dev, status.st_ino
        if stat.S_ISREG(status.st_mode):
            listing.files[below] = (str(path), status.st_size, str(status.st_mtime_ns))
        else:
            listing.passed[below] = "not a regular file"
    return None


def _refusal(error: OSError, what: str) -> str:
    return f"no permission to {what}" if isinstance(error, PermissionError) else str(error.strerror or error)


def file_system(address: str, key: str) -> tuple[Any, str]:
    """Returns fsspec's file system of an address, and the path within it."""
    core = need("fsspec.core")
    try:
        system, path = core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{key}: {address}: {error}") from None
    return system, path


def _near(system: Any, path: str) -> str:
    """Returns a hint at the most similar name beside a missing one, or "" if the store cannot list names."""
    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        return nearest(name, sorted(PurePosixPath(other).name for other in system.ls(parent, detail=False)))
    except OSError:
        return ""


def _ours(paths: Iterable[str]) -> dict[str, str]:
    """Returns the folders below an address that Palmetto made, with their kind."""
    names: dict[str, set[str]] = {}
    for path in paths:
        folder = ""
        for part in PurePosixPath(path).parts:
            names.setdefault(folder, set()).add(part)
            folder = posixpath.join(folder, part)
    return {folder: what for folder, found in sorted(names.items()) if (what := outputs.recognized(found))}


def list_address(address: str, key: str) -> Listing:
    """Lists an address and everything below.

    Raises UserError, which names the recipe's key, if nothing exists there or it cannot be listed.
    """
    system, base = file_system(address, key)
    try:
        above = system.info(base)
        entries = {base: above} if above["type"] == "file" else system.find(base, detail=True)
    except PermissionError:
        listing = Listing()
        listing.problems[""] = "no permission to look at it"
        return listing
    except FileNotFoundError:
        raise UserError(f"{key}: {address}: no such file or folder{_near(system, base)}") from None
    except OSError as error:
        raise UserError(f"{key}: {address}: cannot be listed ({error.strerror or error})") from None
    listing = Listing()
    ours = _ours(path[len(base) :].strip("/") for path in entries)
    for path, info in sorted(entries.items()):
        below = path[len(base) :].strip("/")
        within = next((folder for folder in ours if folder == "" or below.startswith(f"{folder}/")), None)
        if within is not None:
            listing.passed[within] = ours[within]
            continue
        parts = PurePosixPath(below).parts
        hidden = next((number for number, part in enumerate(parts) if part.startswith(".")), None)
        if hidden is not None:
            listing.passed[posixpath.join(*parts[: hidden + 1])] = "hidden"
            if parts[hidden] == ".git":
                listing.checkouts.add(posixpath.join(*parts[:hidden]) if hidden else ".")
        elif info["type"] == "file":
            changed = next((str(info[tag]) for tag in CHANGED if info.get(tag) is not None), "")
            listing.files[below] = (system.unstrip_protocol(path), info.get("size"), changed)
    return listing
