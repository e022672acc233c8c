"""The register of a run's complete checkpoints, which reveals those that are missing from their folder.

The register, checkpoints.json, is kept beside the ledger and not in checkpoints/, which may be on a disk of its own. A
checkpoint is entered once it is complete, and struck out before it is deleted.
"""

import re
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.files import names_in, present, write_json
from palmetto.runs.files import read_completed


class Entry(NamedTuple):
    """Holds the identity of a complete checkpoint."""

    step: int
    attempt: int
    chain: str
    """The ledger's chain at this step."""


class Register:
    """Reads and writes the record of the complete checkpoints in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.with_name(f"{folder.name}.json")

    def read(self) -> dict[int, Entry] | None:
        """Returns the entries by step, or None if there is no record; raises UserError if the file is damaged."""
        try:
            recorded = read_completed(self.path)
        except UserError as error:
            raise UserError(
                f"{error}; without the file, the checkpoints that are there count as all there were"
            ) from None
        entries = (Entry(each["step"], each["attempt"], each["chain"]) for each in recorded or ())
        return None if recorded is None else {entry.step: entry for entry in entries}

    def write(self, entries: dict[int, Entry]) -> None:
        """Replaces the record."""
        write_json(self.path, [entries[step]._asdict() for step in sorted(entries)])

    def enter(self, entry: Entry) -> None:
        """Adds a checkpoint to the record."""
        self.write((self.read() or {}) | {entry.step: entry})

    def strike(self, step: int) -> None:
        """Removes a checkpoint from the record."""
        if (entries := self.read()) is not None and step in entries:
            self.write({at: entry for at, entry in entries.items() if at != step})


def folder_name(step: int) -> str:
    """Returns the name of a checkpoint's folder."""
    return f"{step:08d}"


def step_of(name: str) -> int | None:
    """Returns the step whose checkpoint folder has this name, or None if no step has."""
    return int(name) if re.fullmatch("[0-9]+", name) and folder_name(int(name)) == name else None


def completed(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder that have their manifest, ascending.

    Raises UserError if a folder or manifest cannot be accessed, which does not mean that there is none.
    """
    steps = (step for name in names_in(folder) if (step := step_of(name)) is not None)
    return sorted(step for step in steps if _has_manifest(folder / folder_name(step)))


def _has_manifest(directory: Path) -> bool:
    return present(directory) and present(directory / "manifest.json")
