"""Reading checkpoints while training may delete them, without taking a deletion for damage."""

from collections.abc import Callable
from typing import TypeVar

from palmetto.training.checkpoint import Checkpoints

Found = TypeVar("Found")


def read(checkpoints: Checkpoints, step: int, look: Callable[[], Found]) -> Found | None:
    """Returns the result of `look` at a checkpoint, or None if training has deleted or replaced it meanwhile.

    The manifest, which is written last and deleted first, tells whether it was. Errors from a checkpoint that has
    stayed in place are raised.
    """
    file = checkpoints.path / f"{step:08d}" / "manifest.json"

    def contents() -> bytes | None:
        try:
            return file.read_bytes()
        except FileNotFoundError:
            return None

    before = contents()
    try:
        found = look()
    except Exception:
        if before is None or contents() != before:
            return None
        raise
    return found if before is not None and contents() == before else None
