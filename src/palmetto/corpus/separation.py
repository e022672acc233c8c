"""Checks that a corpus is not built among its own sources; otherwise a second build would read what the first wrote."""

import fnmatch
import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from palmetto.corpus.directory import MARKS, SHEETS, STAGES
from palmetto.corpus.documents import DOCUMENTS, MANIFEST, VOCABULARY
from palmetto.corpus.reading.finding import File, is_pattern
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build

_MADE = (
    MANIFEST,
    VOCABULARY,
    *SHEETS,
    f"{DOCUMENTS}/source/000000-0000.parquet",
    f"{MARKS}/set.jsonl",
    f"{STAGES}/stage/done.json",
    f"{STAGES}/stage/file.npy",
    f"{STAGES}/stage/file.arrow",
)
"""Examples of the name of every kind of file that a build writes."""


def check(recipe: Build, directory: Path) -> None:
    """Raises UserError if a path of a source or evaluation set lies inside a build's directory, or contains it."""
    out = Path(os.path.realpath(directory))
    for name, source in recipe.sources.items():
        for given in source.paths:
            _check(f"corpus.build.sources.{name}.paths", os.path.expanduser(given), recipe.root, out)
    for given in recipe.contamination.evaluation if recipe.contamination else ():
        path = Path(recipe.root or ".") / os.path.expanduser(given)
        _check_path("corpus.build.contamination.evaluation", path, out)


def check_files(files: Iterable[File], directory: Path) -> None:
    """Raises UserError if any of the files found lies inside the directory, links resolved."""
    out = Path(os.path.realpath(directory))
    for file in files:
        if "://" not in file.path and (path := Path(os.path.realpath(file.path))).is_relative_to(out):
            raise _inside(f"corpus.build.sources.{file.source}.paths", path, out)


def _check(key: str, given: str, root: str | None, out: Path) -> None:
    given, below = given.removeprefix("file://"), (root or ".").removeprefix("file://")
    if "://" in given or "://" in below:
        return
    base = Path(below)
    if os.path.lexists(base / given) or not is_pattern(given):
        _check_path(key, base / given, out)
        return
    for match in glob.iglob(given, root_dir=base, recursive=True):
        _check_path(key, base / match, out)
    pattern = PurePath(os.path.normpath(Path(os.path.realpath(base)) / given)).parts
    for path in (folder for name in _MADE for folder in ((out / name), *(out / name).parents)):
        if _matches(pattern, path.parts):
            raise UserError(
                f"{key}: {given}: would match {path}, which this build makes; build it in a folder that "
                "the pattern does not reach"
            )


def _check_path(key: str, path: Path, out: Path) -> None:
    real = Path(os.path.realpath(path))
    if real.is_relative_to(out):
        raise _inside(key, path, out)
    if out.is_relative_to(real):
        raise UserError(
            f"{key}: {path}: the corpus would be built inside it, in {out}, and read by the next build; "
            "build it in a folder outside"
        )


def _inside(key: str, path: Path, out: Path) -> UserError:
    return UserError(f"{key}: {path}: lies inside {out}, where the corpus is built; build it in another folder")


def _matches(pattern: Sequence[str], parts: Sequence[str]) -> bool:
    """Returns whether a glob pattern, given as its parts, matches a path; ``**`` stands for any folders not hidden."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    hidden = parts[0].startswith(".")
    if pattern[0] == "**":
        return _matches(pattern[1:], parts) or (not hidden and _matches(pattern, parts[1:]))
    if hidden and not pattern[0].startswith("."):
        return False
    return fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(pattern[1:], parts[1:])
