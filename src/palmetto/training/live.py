"""Checkpoints read while a training may delete them: a look that met a deletion is not taken for damage."""

from collections.abc import Callable
from typing import TypeVar

from palmetto.training.checkpoint import Checkpoints

Found = TypeVar("Found")


def read(checkpoints: Checkpoints, step: int, look: Callable[[], Found]) -> Found | None:
    """Returns what `look` gives of a checkpoint; None where training has deleted or replaced it meanwhile.

    A checkpoint's manifest is written last and deleted first, so it tells. Any error of a checkpoint that stays is
    raised.
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
