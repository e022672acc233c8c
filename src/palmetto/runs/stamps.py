"""Finished stages: stages/NAME.json has the digest of a stage's inputs and of each file that it made."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from palmetto.errors import UserError
from palmetto.files import present, sha256, write_json
from palmetto.runs.directory import RunDirectory
from palmetto.runs.files import Stamp, read_stamp

Digest = Callable[[Path], str]
"""A file → what its bytes are known by."""


def finish(run: RunDirectory, stage: str, inputs: dict[str, Any], outputs: list[Path], digest: Digest = sha256) -> None:
    """Records that a stage has made `outputs` from `inputs`."""
    digests = {str(path.relative_to(run.path)): digest(path) for path in outputs}
    write_json(_file(run, stage), {"inputs": _digest(inputs), "outputs": digests})


def is_complete(run: RunDirectory, stage: str, inputs: dict[str, Any], digest: Digest = sha256) -> bool:
    """Returns whether a stage has made what it makes of these inputs, and all of it is there."""
    return made_from(run, stage, inputs) is True and is_whole(run, stage, digest)


def made_from(run: RunDirectory, stage: str, inputs: dict[str, Any]) -> bool | None:
    """Returns whether a stage was finished on these inputs; None where its stamp does not tell."""
    stamp = read(run, stage)
    return None if stamp is None else stamp["inputs"] == _digest(inputs)


def is_whole(run: RunDirectory, stage: str, digest: Digest = sha256) -> bool:
    """Returns whether all that a stage has made is there as it was made."""
    stamp = read(run, stage)
    return stamp is not None and all(is_as_made(run, stage, run.path / name, digest) for name in stamp["outputs"])


def is_as_made(run: RunDirectory, stage: str, output: Path, digest: Digest = sha256) -> bool:
    """Returns whether an output is as the stage made it; UserError where it cannot be looked at."""
    return present(output) and digest(output) == recorded(run, stage, output)


def recorded(run: RunDirectory, stage: str, output: Path) -> str | None:
    """The digest of an output as the stage made it; None where no stamp tells."""
    stamp = read(run, stage)
    return stamp["outputs"].get(str(output.relative_to(run.path))) if stamp else None


def read(run: RunDirectory, stage: str) -> Stamp | None:
    """A stage's stamp; None where there is none, or it is damaged, as then the stage is not known to be finished.

    UserError where it cannot be looked at.
    """
    if not present(_file(run, stage)):
        return None
    try:
        return read_stamp(_file(run, stage))
    except UserError:
        return None


def adopt(run: RunDirectory, other: RunDirectory, stage: str) -> None:
    """Takes over by hard links what another run's finished stage has made; it is kept if its inputs fit.

    Neither run can touch the other's: files are written beside and renamed, never altered in place.
    """
    stamp = read(other, stage)
    if stamp is None or _file(run, stage).exists():
        return
    made = [other.path / name for name in stamp["outputs"]]
    if not all(path.is_file() for path in made):
        return
    for path in [*made, _file(other, stage)]:
        target = run.path / path.relative_to(other.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:  # a file system without hard links
            shutil.copy(path, target)


def _file(run: RunDirectory, stage: str) -> Path:
    return run.stages / f"{stage}.json"


def _digest(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
