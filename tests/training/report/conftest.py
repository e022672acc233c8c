"""The small runs that the tests of this folder read."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from palmetto.files import write_json, write_text
from palmetto.recipe import loading
from palmetto.runs.directory import RunDirectory
from tests.references.report_runs import RECIPE, SAMPLES, Loss, RunMaker, falling, write_run, write_summary


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """make_run(loss, steps, finished=True): a run of RECIPE; unfinished, it lacks summary, samples and machine.

    overrides: of the recipe, as the command line takes them.
    """

    def make(
        loss: Loss = falling, steps: int = 120, *, finished: bool = True, overrides: Sequence[str] = ()
    ) -> RunDirectory:
        run = RunDirectory(tmp_path / "small")
        write_text(tmp_path / "given.yaml", RECIPE)
        recipe = loading.load(str(tmp_path / "given.yaml"), [f"training.steps={steps}", *overrides])
        run.claim(recipe)
        write_run(run, recipe, loss, steps)
        if finished:
            write_summary(run, recipe, steps)
            write_json(run.path / "environment.json", {"jaxlib": "0.10.2", "platform": "cpu", "threads": 8})
            write_text(run.samples, SAMPLES)
        return run

    return make
