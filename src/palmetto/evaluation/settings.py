"""Holds what an evaluation is asked for, and finds the run of one that is there."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.tasks.task import Task
from palmetto.files import read_json
from palmetto.recipe.model import Weights
from palmetto.runs.directory import RunDirectory

SETTINGS = "evaluation.json"


class Settings(NamedTuple):
    """Holds what an evaluation is asked for, besides tasks and a model."""

    shots: int | None
    """The number of examples in front of each question; None for the task's own."""
    seed: int
    """The seed of the choice of shots."""
    limit: int | None
    """The number of first examples of each task; None for all."""
    beams: int = 0
    """The width of the beam search that generates answers; 0 for greedy ones."""
    samples: int = 0
    """The number of sampled answers that vote (self-consistency); 0 for the task's own, which is mostly one answer."""
    unsafe_code: bool = False
    """True if programs that the model writes are run without a jail where the kernel lacks one."""

    def check(self) -> "Settings":
        """Returns self; raises UserError if beams and samples are both asked for."""
        if self.beams and self.samples:
            raise UserError(f"--beams {self.beams} --samples {self.samples}: expected one of them")
        return self

    def seeds(self, task: Task, example: str) -> list[int]:
        """Returns the seed of each sample of an example: a pure function of the seed, the task and the example's id."""
        count = self.samples or (0 if self.beams else task.samples)
        names = (f"{self.seed}\0{task.name}\0{example}\0{sample}" for sample in range(count))
        return [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in names]


def run_of(out: Path) -> tuple[RunDirectory, int, Weights | None]:
    """Returns the run that was evaluated into a folder, the step of its checkpoint, and the type of its weights."""
    settings = read_json(out / SETTINGS)
    weights = settings.get("weights")
    return RunDirectory.existing(Path(settings["run"])), settings["step"], weights
