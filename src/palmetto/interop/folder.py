"""The folder of an export: whole or absent, and recognizable as one of ours, so that it may be replaced."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from palmetto import files
from palmetto.errors import UserError

MARK = "palmetto.json"
"""The file that says what was exported, with the SHA-256 of every other file."""
FORMAT = 1


def check(out: Path) -> None:
    """Raises UserError if a folder is neither absent, nor empty, nor an export that no one has altered."""
    if not files.present(out):
        return
    if not out.is_dir():
        raise UserError(f"--out {out}: a file; expected a folder, or a path where nothing is")
    if out.samefile(Path.cwd()) or out.is_mount():
        raise UserError(f"--out {out}: the current folder, or a mount point; expected one that can be replaced")
    if any(out.iterdir()):
        check_ours(out, f"--out {out}: holds files that are not an export's; expected an empty folder, or another path")


def check_ours(out: Path, refusal: str) -> None:
    """Raises UserError, which begins with `refusal`, if a folder is not an export as it was written."""
    try:
        marked = json.loads((out / MARK).read_bytes())
        recorded, format = dict(marked["files"]), marked["format"]
        found = _digests(out)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(refusal) from None
    if format != FORMAT:
        raise UserError(f"{out / MARK}: format={json.dumps(format)[:40]}: expected {FORMAT}, which this version writes")
    if other := _others(out, recorded):
        raise UserError(f"{refusal} ({other} has been added since it was exported)")
    for name in sorted(found.keys() | recorded.keys()):
        if found.get(name) != recorded.get(name):
            raise UserError(f"{refusal} ({name} has been altered, added or removed since it was exported)")


@contextlib.contextmanager
def made(out: Path, facts: dict[str, Any]) -> Iterator[Path]:
    """Gives a temporary folder to write into, which becomes `out` on a clean exit, with the mark and its `facts`.

    A failure leaves `out` as it was. If the process is killed between the two renames, what was there lies beside it,
    with a name that begins with a dot and ends with .old. Raises UserError if `out` holds anything but an export when
    it would be replaced.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.temporary_folder(f".{out.name}.", out.parent) as temporary:
        made = temporary / "export"
        made.mkdir()
        yield made
        files.write_json(made / MARK, {"format": FORMAT, **facts, "files": _digests(made)})
        old = temporary.with_name(f"{temporary.name}.old")
        check(out)
        if out.exists():
            out.rename(old)
        try:
            made.rename(out)
        except BaseException:
            if old.exists():
                old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    files.sync_directory(out.parent)


def names(folder: Path) -> list[str]:
    """Returns the paths of a folder's files, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _others(folder: Path, recorded: Iterable[str]) -> str | None:
    """Returns the path of one thing in a folder that is neither a regular file nor the folder of a recorded one."""
    folders = {str(parent) for name in recorded for parent in Path(name).parents}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not (path.is_file() or (path.is_dir() and name in folders)):
            return name
    return None


def _digests(folder: Path) -> dict[str, str]:
    return {name: files.sha256(folder / name) for name in names(folder) if name != MARK}
