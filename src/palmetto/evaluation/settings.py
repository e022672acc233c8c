"""Holds what an evaluation is asked for, and finds the run of one that is there."""

from pathlib import Path
from typing import NamedTuple

from palmetto.files import read_json
from palmetto.runs.directory import RunDirectory

SETTINGS = "evaluation.json"


class Settings(NamedTuple):
    """Holds what an evaluation is asked for, besides tasks and a model."""

    shots: int
    seed: int
    """The seed of the choice of shots."""
    limit: int | None
    """The number of first examples of each task; None for all."""
    beams: int = 0
    """The width of the beam search that generates answers; 0 for greedy ones."""


def run_of(out: Path) -> tuple[RunDirectory, int]:
    """Returns the run that was evaluated into a folder, and the step of its checkpoint."""
    settings = read_json(out / SETTINGS)
    return RunDirectory.existing(Path(settings["run"])), settings["step"]
