"""Checks the directory of a corpus: it must be new, empty or a corpus already."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from palmetto.corpus import inventory, tables
from palmetto.corpus.documents import DOCUMENTS, MANIFEST, VOCABULARY
from palmetto.errors import UserError
from palmetto.files import read_json

STAGES = "stages"
MARKS = "contamination"
"""The folder that holds a mark for every evaluation example."""
SHEETS = ("datasheet.html", "datasheet.json", "datasheet.png")
"""The files of the datasheet."""
_SHOWN = 3
_OF_STAGE = re.compile(r"[a-z][a-z ]*-[0-9a-f]{16}(\.model)?")
_EXTRACTION = re.compile(r"extraction-[0-9a-f]{16}")


def check(directory: Path) -> None:
    """Raises UserError if a directory is neither new, nor empty, nor a corpus; makes and changes nothing."""
    if directory.is_symlink() and not directory.exists():
        raise UserError(f"{directory}: a link to nothing; give a folder that a corpus can be built in")
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UserError(f"{directory}: a file; give a folder that a corpus can be built in")
    others = sorted(path.name for path in directory.iterdir() if not _is_trace(path))
    if others and not _is_corpus(directory):
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise UserError(
            f"{directory}: neither empty nor a corpus: {', '.join(others[:_SHOWN])}{more} in it; "
            "give a new or empty folder"
        )


def enter(directory: Path) -> None:
    """Starts the inventory of a checked directory; for a corpus without one, from the files found there.

    Raises UserError if a foreign file lies among the documents, because a run on this corpus would read it.
    """
    workplace = directory / STAGES
    if not (workplace / inventory.LIST).exists():
        inventory.write(workplace, _unlisted(directory) if _is_corpus(directory) else ())
    known = inventory.listed(workplace)
    for path in sorted((directory / DOCUMENTS).rglob("*")):
        is_ours = path.is_dir() or path.name.startswith(".") or path.relative_to(directory).as_posix() in known
        if not is_ours:
            raise UserError(
                f"{path}: no build has made this, and a run would read it as part of the corpus; move it away"
            )


def manifest_of(directory: Path) -> dict[str, Any] | None:
    """Returns the manifest of a finished corpus, or None if there is none or another program wrote it."""
    if not (directory / MANIFEST).is_file():
        return None
    try:
        values = read_json(directory / MANIFEST)
    except UserError:
        return None
    if not isinstance(values, dict) or not {"format", "digest", "recipe", "stages", "files"} <= values.keys():
        return None
    return values


def _is_trace(path: Path) -> bool:
    """Returns whether a path is one that a build leaves if it is killed before it has made anything."""
    if path.name == ".lock" and path.is_file():
        return (path.stat().st_size < 20 and path.read_bytes().strip().isdigit()) or not path.stat().st_size
    return (
        path.name == STAGES and path.is_dir() and all(f.name.startswith(f".{inventory.LIST}.") for f in path.iterdir())
    )


def _is_corpus(directory: Path) -> bool:
    if (directory / STAGES / inventory.LIST).is_file() or manifest_of(directory) is not None:
        return True
    work = directory / STAGES
    return work.is_dir() and any(_EXTRACTION.fullmatch(path.name) and path.is_dir() for path in work.iterdir())


def _unlisted(directory: Path) -> Iterator[str]:
    """Yields the files of a build without an inventory, recognized by name and content."""
    manifest = manifest_of(directory) or {}
    work = directory / STAGES
    for path in work.iterdir() if work.is_dir() else ():
        if _OF_STAGE.fullmatch(path.name):
            yield f"{STAGES}/{path.name}{'/' if path.is_dir() else ''}"
    stated = {file["file"] for file in manifest.get("files", ())}
    for path in (directory / DOCUMENTS).rglob("*.parquet"):
        name = path.relative_to(directory).as_posix()
        if name in stated or _is_document_file(path):
            yield name
    for path in (directory / MARKS).rglob("*.jsonl"):
        if _is_mark_file(path):
            yield path.relative_to(directory).as_posix()
    # Every build replaces files of these names, so they are its own.
    if manifest or (directory / DOCUMENTS).is_dir():
        yield from (name for name in (MANIFEST, VOCABULARY, *SHEETS) if (directory / name).exists())


def _is_document_file(path: Path) -> bool:
    """Returns whether a build wrote a table: the schema then holds the build's digest."""
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return tables.METADATA in metadata


def _is_mark_file(path: Path) -> bool:
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    return all(word in line for word in (b'"contaminated"', b'"contaminated_before"'))
