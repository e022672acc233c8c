"""Stamps, which tell whether a product of a run (vocabulary, tokens or samples) is complete and of the same inputs.

The stamp of a product, stages/NAME.json, holds the digest of its inputs and of each of its files.
"""

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
"""A function that returns a digest of a file's bytes."""


def finish(
    run: RunDirectory, product: str, inputs: dict[str, Any], outputs: list[Path], digest: Digest = sha256
) -> None:
    """Records that `outputs` are the files of a product made from `inputs`."""
    digests = {str(path.relative_to(run.path)): digest(path) for path in outputs}
    write_json(_file(run, product), {"inputs": _digest(inputs), "outputs": digests})


def is_complete(run: RunDirectory, product: str, inputs: dict[str, Any], digest: Digest = sha256) -> bool:
    """Returns whether a product was made from these inputs and all its files are intact."""
    return made_from(run, product, inputs) is True and is_whole(run, product, digest)


def made_from(run: RunDirectory, product: str, inputs: dict[str, Any]) -> bool | None:
    """Returns whether a product was made from these inputs, or None if it has no readable stamp."""
    stamp = read(run, product)
    return None if stamp is None else stamp["inputs"] == _digest(inputs)


def is_whole(run: RunDirectory, product: str, digest: Digest = sha256) -> bool:
    """Returns whether all files of a product are as they were made."""
    stamp = read(run, product)
    return stamp is not None and all(is_as_made(run, product, run.path / name, digest) for name in stamp["outputs"])


def is_as_made(run: RunDirectory, product: str, output: Path, digest: Digest = sha256) -> bool:
    """Returns whether a file of a product is as it was made; raises UserError if it cannot be accessed."""
    return present(output) and digest(output) == recorded(run, product, output)


def recorded(run: RunDirectory, product: str, output: Path) -> str | None:
    """Returns the digest that a file of a product had when it was made, or None if no stamp records it."""
    stamp = read(run, product)
    return stamp["outputs"].get(str(output.relative_to(run.path))) if stamp else None


def read(run: RunDirectory, product: str) -> Stamp | None:
    """Returns the stamp of a product, or None if it is missing or damaged, since then nothing is known of the product.

    Raises UserError if it cannot be accessed.
    """
    if not present(_file(run, product)):
        return None
    try:
        return read_stamp(_file(run, product))
    except UserError:
        return None


def adopt(run: RunDirectory, other: RunDirectory, product: str) -> None:
    """Links the files of a finished product of another run into this one; later checks of its inputs decide on its use.

    Neither run can alter the other's files, since files are written to new paths and renamed, never changed in place.
    """
    stamp = read(other, product)
    if stamp is None or _file(run, product).exists():
        return
    made = [other.path / name for name in stamp["outputs"]]
    if not all(path.is_file() for path in made):
        return
    for path in [*made, _file(other, product)]:
        target = run.path / path.relative_to(other.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:  # a file system without hard links
            shutil.copy(path, target)


def _file(run: RunDirectory, product: str) -> Path:
    return run.stamps / f"{product}.json"


def _digest(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
