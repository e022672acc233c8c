"""The drill `nan`: the gradients of one step are NaN."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from palmetto.drills.report import Report
from palmetto.drills.workplace import Workplace
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.training.ledger import Line
from palmetto.workflow.entering import enter
from palmetto.workflow.progress import Reporter

STEP = 13

_TAKE_BAD_STEP = f"import sys; from {__name__} import take_bad_step; take_bad_step(sys.argv[1], int(sys.argv[2]))"


def nan(place: Workplace, report: Report) -> None:
    """Trains one step on a batch without tokens to predict, so that its mean loss is 0/0 and all gradients are NaN."""
    last = place.recipe.training.steps
    run = place.run("run", "training.objective={name: prefix}")
    report.do(f"train to step {STEP - 1}")
    run.train("--until", str(STEP - 1))
    before = run.state_digests()
    report.do(f"train step {STEP} on a batch in which no token is to be predicted: loss and gradients are 0/0")
    run.command(run.name, str(STEP), program=_TAKE_BAD_STEP)
    events = run.new_events()
    report.quote_events(events)
    after = run.state_digests()
    report.do(f"train on to step {last}")
    run.train()
    report.quote_events(run.new_events())
    lines = run.lines()
    for line in lines:
        if line.step in (STEP - 1, STEP, STEP + 1, last):
            report.found(f"step {line.step}: loss {line.loss:.4f}")

    report.compare({f"before step {STEP}": before, f"after step {STEP}": after})
    judge(report, lines, events, last)


def judge(report: Report, lines: list[Line], events: list[dict[str, Any]], last: int) -> None:
    """Checks that the step changed nothing and is recorded, and that the other steps up to `last` were applied."""
    report.check_same(f"after step {STEP}", f"before step {STEP}")
    bad, rest = lines[STEP - 1 : STEP], lines[STEP:]
    found = [(line.step, math.isnan(line.loss), math.isnan(line.grad_norm), line.applied) for line in bad]
    claim = f"the ledger has step {STEP} as NaN and not applied"
    report.check(claim, found == [(STEP, True, True, False)], f"{bad}")
    skipped = [event["step"] for event in events if event["event"] == "skipped step"]
    report.check(f"the event log has step {STEP} as skipped", skipped == [STEP], f"skipped steps {skipped}")
    sound = [line.step for line in rest if line.applied and math.isfinite(line.loss)]
    claim = f"steps {STEP + 1} to {last} were applied, their losses finite"
    report.check(claim, sound == list(range(STEP + 1, last + 1)), f"these were: {sound}")


def take_bad_step(run: str, step: int) -> None:
    """Takes one step, like `palmetto train --until STEP`, on a batch whose mask of predicted tokens is empty."""
    directory = RunDirectory.existing(Path(run))
    with directory.locked():
        here = enter(directory, print, directory.recipe)
        import jax.numpy as jnp

        from palmetto.training import loop
        from palmetto.training.step import execution
        from palmetto.training.step.loss import Batch

        make_batch = execution.make_batch

        def make_bad_batch(
            recipe: Recipe, windows: npt.NDArray[np.int32], positions: npt.NDArray[np.int64], eod: int
        ) -> Batch:
            batch = make_batch(recipe, windows, positions, eod)
            assert batch.scored is not None
            return batch._replace(scored=jnp.zeros_like(batch.scored))

        execution.make_batch = make_bad_batch
        with Reporter("training", step) as reporter:
            loop.train(directory, directory.recipe, step, here, reporter)
