"""The choice of a checkpoint by scores on tasks while a run is trained, and the end of a run that gets no better."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palmetto.errors import UserError
from palmetto.evaluation.scorer import DEFAULT
from palmetto.files import write_json
from palmetto.recipe import Recipe
from palmetto.runs.directory import RunDirectory
from palmetto.runs.register import completed
from palmetto.workflow import evaluation, training
from palmetto.workflow.progress import Say, Watch

if TYPE_CHECKING:
    from palmetto.evaluation.settings import Settings

CHOSEN = "chosen.json"
"""The file of a run that names the chosen checkpoint."""


class Judges(NamedTuple):
    """Names the tasks and groups whose scores choose, where their data lie, how they are asked, and when to give up."""

    tasks: Sequence[str]
    data: Path
    settings: "Settings"
    patience: int | None
    """The number of checkpoints in a row without a better score after which training ends; None to train on."""


def keeping_all(recipe: Recipe) -> Recipe:
    """Returns the recipe with every checkpoint kept, so that any can be chosen."""
    kept = recipe.training.model_copy(update={"keep_every": recipe.training.checkpoint_every})
    return recipe.model_copy(update={"training": kept})


def train(run: RunDirectory, recipe: Recipe, judges: Judges, say: Say) -> bool:
    """Trains from checkpoint to checkpoint, and writes which one scores best; returns False if a signal stopped it.

    Of checkpoints with equal scores the earlier is chosen. An evaluation that is there is not made again. Raises
    UserError if the run has gone on without a checkpoint to choose from, or if it was judged otherwise before.
    """
    every, last = recipe.training.checkpoint_every, recipe.training.steps
    wanted, there = [*range(every, last, every), last], completed(run.checkpoints)
    for step in wanted:
        if there and step < there[-1] and step not in there:
            raise UserError(
                f"--choose: {run.path} keeps no checkpoint of step {step} to choose from; expected a choice from the "
                "beginning, in another directory with --run"
            )
    scores: dict[int, float] = {}
    for until in wanted:
        if until not in completed(run.checkpoints) and not training.train(run, recipe, until, say):
            return False
        out = run.evaluations / f"{until:08d}"
        with Watch() as watch:
            try:
                done = evaluation.tasks(run, judges.tasks, judges.data, judges.settings, until, out, DEFAULT, watch)
            except UserError as error:
                raise UserError(f"--choose: {str(error).replace('--out', '--run')}") from None
        scores[until] = geometric_mean({name: done.results["tasks"][name] for name in judges.tasks})
        best = max(scores, key=lambda step: (scores[step], -step))
        say(f"step {until}: {', '.join(judges.tasks)} {scores[until]:.2f}; best at step {best}, {scores[best]:.2f}")
        values = {"step": best, "score": scores[best], "tasks": list(judges.tasks), "scores": scores}
        write_json(run.path / CHOSEN, values)
        if judges.patience is not None and sum(step > best for step in scores) >= judges.patience:
            say(f"no better for {judges.patience} checkpoints: training ends at step {until}")
            return True
    return True


def geometric_mean(results: Mapping[str, Mapping[str, Any]]) -> float:
    """Returns the geometric mean of the tasks' scores, from 0 to 100."""
    values = [result["value"] for result in results.values()]
    return math.prod(values) ** (1 / len(values))
