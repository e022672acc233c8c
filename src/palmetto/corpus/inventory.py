"""Keeps the list of everything that builds have made in a corpus's directory; a build replaces and deletes nothing
else.

DIR/stages/made.json names files and folders (with a trailing slash) relative to DIR. A name is listed before its file
is made, so the build that follows a killed one knows which files are its own.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from palmetto.errors import UserError
from palmetto.files import read_json, write_json

LIST = "made.json"
_REMOVED = ".removed/"


def listed(workplace: Path) -> set[str]:
    """Returns the names that builds made, or were about to make, in the directory that contains `workplace`.

    Raises UserError if the list is damaged.
    """
    file = workplace / LIST
    if not file.exists():
        return set()
    values = read_json(file)
    names = values.get("made") if isinstance(values, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file}: not a list of what builds have made; move {workplace.parent} away, and build again")
    return set(names)


def write(workplace: Path, names: Iterable[str]) -> None:
    """Replaces the list by `names`."""
    write_json(workplace / LIST, {"made": sorted(names)})


def claim(workplace: Path, names: Iterable[str]) -> None:
    """Lists names that are about to be made.

    Raises UserError if one of them exists and no build has made it, because it would be replaced.
    """
    known = listed(workplace)
    new = set(names) - known
    for name in sorted(new):
        if os.path.lexists(path := workplace.parent / name):
            raise UserError(f"{path}: no build has made this, and this one would replace it; move it away")
    if new:
        write(workplace, known | new)


def remove(workplace: Path, names: Iterable[str]) -> None:
    """Deletes those of `names` that are listed, and folders that become empty; nothing unlisted is deleted."""
    known = listed(workplace)
    ours = known & set(names)
    for name in sorted(ours):
        if name.endswith("/"):
            _remove_folder(workplace, name)
        else:
            _remove_file(workplace.parent, name)
    if ours:
        write(workplace, listed(workplace) - ours)


def _remove_file(directory: Path, name: str) -> None:
    (directory / name).unlink(missing_ok=True)
    for above in (directory / name).parents:
        if above == directory:
            break
        with contextlib.suppress(OSError):  # the folder is not empty
            above.rmdir()


def _remove_folder(workplace: Path, name: str) -> None:
    """Renames a folder before deleting it, so that the half that a killed process leaves is not taken for the whole."""
    renamed = name if name.endswith(_REMOVED) else name[:-1] + _REMOVED
    folder, doomed = workplace.parent / name, workplace.parent / renamed
    if renamed in listed(workplace) and doomed.exists():
        shutil.rmtree(doomed)
    if folder.exists():
        claim(workplace, [renamed])
        folder.rename(doomed)
        shutil.rmtree(doomed)
    write(workplace, listed(workplace) - {renamed})


def make_way(workplace: Path, stage: str, folder: Path) -> None:
    """Claims a stage's folder and removes the stage's folders for other inputs, which are never read again."""
    mine = f"{folder.relative_to(workplace.parent).as_posix()}/"
    claim(workplace, [mine])
    stem = f"{workplace.name}/{stage}-"
    others = [name for name in listed(workplace) if name.startswith(stem) and name.endswith("/") and name != mine]
    remove(workplace, others)
