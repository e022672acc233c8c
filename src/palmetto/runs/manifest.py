"""The manifest of a checkpoint, checkpoints/STEP/manifest.json, with a seal that a changed byte breaks."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from palmetto.errors import UserError
from palmetto.files import present, sha256

FORMAT = 1


class Manifest(NamedTuple):
    """Holds the origin of a checkpoint and the digests of its contents."""

    step: int
    attempt: int
    recipe: str
    """The digest of the recipe's identity."""
    tokens: str
    """The digest of the training tokens."""
    chain: str
    """The ledger's chain at this step."""
    parameters: str
    optimizer: str
    """The digests of the logical matrices of parameters and optimizer; the latter covers the loss scale."""
    files: dict[str, str]
    """The SHA-256 of every file under arrays/, by its path there."""


class CheckpointDamaged(UserError):
    """Signals that a checkpoint is not what was written."""


_OBJECT = TypeAdapter(dict[str, Any], config=ConfigDict(strict=True))
_MANIFEST = TypeAdapter(Manifest, config=ConfigDict(strict=True))


def render(manifest: Manifest) -> str:
    """Returns the text of a manifest's file: format, fields, and the SHA-256 of both as the seal."""
    contents = {"format": FORMAT, **manifest._asdict()}
    return json.dumps(contents | {"sha256": _seal(contents)}, indent=1) + "\n"


def read_manifest(file: Path, step: int) -> Manifest:
    """Returns the manifest of the checkpoint of `step` after checking its seal, but no other file of the checkpoint.

    Raises CheckpointDamaged if it is not what was written, or is of another step; UserError if it is an intact manifest
    of another format; OSError if it cannot be read.
    """
    data = file.read_bytes()
    damaged = CheckpointDamaged(f"{file}: not a checkpoint's manifest")
    try:
        contents = _OBJECT.validate_python(json.loads(data))
    except (ValueError, RecursionError):
        raise damaged from None
    seal, form = contents.pop("sha256", None), contents.get("format")
    if form != FORMAT and seal == _seal(contents):
        raise UserError(f"{file}: a checkpoint of format {form}; this version reads {FORMAT}")
    try:
        manifest = _MANIFEST.validate_python({key: value for key, value in contents.items() if key != "format"})
    except ValidationError:
        raise damaged from None
    if data != render(manifest).encode():
        raise CheckpointDamaged(f"{file}: altered since it was written")
    if manifest.step != step:
        raise CheckpointDamaged(f"{file}: is of step {manifest.step}, and its folder is named {step}")
    return manifest


def digests_of(arrays: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file under `arrays`, by its path there."""
    return {name: sha256(arrays / name) for name in sorted(_names(arrays))}


def check_files(arrays: Path, manifest: Manifest) -> None:
    """Raises CheckpointDamaged, which names the file, if a file under `arrays` is not what the manifest says.

    Raises UserError or OSError if a folder, file or link cannot be accessed, which does not mean that it is damaged.
    """
    if missing := sorted(manifest.files.keys() ^ set(_names(arrays))):
        raise CheckpointDamaged(f"{arrays}/{missing[0]}: missing, or not of this checkpoint")
    for name, expected in manifest.files.items():
        if sha256(arrays / name) != expected:
            raise CheckpointDamaged(f"{arrays}/{name}: altered since it was written")


def _names(arrays: Path) -> Iterator[str]:
    """Yields the paths of all files in a folder, none if it does not exist; raises OSError if it is not accessible."""

    def fail(error: OSError) -> None:
        raise error

    if not present(arrays):
        return
    for folder, _, names in os.walk(arrays, onerror=fail, followlinks=True):
        for path in (Path(folder, name) for name in names):
            present(path)  # raises for a dangling link, which does not count as a missing file
            yield str(path.relative_to(arrays))


def _seal(contents: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()
