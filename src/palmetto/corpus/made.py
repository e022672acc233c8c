"""The list of all that builds have made in a corpus's directory: a build replaces and deletes nothing else.

DIR/stages/made.json names files and folders (with a slash at the end) relative to DIR. Each is listed before it is
made, so that a build that follows a killed one knows what is its own.
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
    """Returns the names that builds have made, or were about to make, in the directory that `workplace` lies in.

    UserError where the list is damaged.
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
    """Makes `names` the list."""
    write_json(workplace / LIST, {"made": sorted(names)})


def claim(workplace: Path, names: Iterable[str]) -> None:
    """Lists what is about to be made.

    UserError where one of them is there and no build has made it: it would be replaced.
    """
    known = listed(workplace)
    new = set(names) - known
    for name in sorted(new):
        if os.path.lexists(path := workplace.parent / name):
            raise UserError(f"{path}: no build has made this, and this one would replace it; move it away")
    if new:
        write(workplace, known | new)


def remove(workplace: Path, names: Iterable[str]) -> None:
    """Deletes what is listed, and the folders that are left empty; what is not listed stays."""
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
        with contextlib.suppress(OSError):  # something else is in it
            above.rmdir()


def _remove_folder(workplace: Path, name: str) -> None:
    """A folder goes under another name first: half of it, left by a kill, must not be taken for the whole."""
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
    """Claims the folder of a stage, and removes those that it has made of other inputs: none is ever read again."""
    mine = f"{folder.relative_to(workplace.parent).as_posix()}/"
    claim(workplace, [mine])
    stem = f"{workplace.name}/{stage}-"
    others = [name for name in listed(workplace) if name.startswith(stem) and name.endswith("/") and name != mine]
    remove(workplace, others)
