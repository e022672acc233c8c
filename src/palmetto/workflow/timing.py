"""Chooses the number of steps of a run by the time that they may take."""

import time

from palmetto.errors import UserError
from palmetto.recipe import Recipe, sense
from palmetto.runs.directory import RunDirectory
from palmetto.tokens import vocabularies
from palmetto.workflow.entering import enter
from palmetto.workflow.progress import Say

_ENDING = 0.05
"""The share of the time that is left for what follows the last step: its checkpoint, samples and report."""
_UNSEEN = 0.04
"""The share of a step's time that ledger, digests, checkpoints and progress add to it."""


def as_begun(run: RunDirectory, recipe: Recipe, say: Say) -> Recipe:
    """Returns the recipe with the number of steps that a run was begun with."""
    steps = run.recipe.training.steps
    say(f"{run.path}: begun with training.steps={steps}, which stays")
    return with_steps(recipe, steps)


def fit(run: RunDirectory, recipe: Recipe, deadline: float, say: Say) -> Recipe:
    """Returns the recipe with as many steps as can be taken before `deadline`, a time of time.monotonic.

    The steps are timed on this machine, and the tokens must have been built. The number then belongs to the recipe of
    the run, so that the run can be repeated bit for bit on any machine. Raises UserError if there is time for no step.
    """
    begun = time.monotonic()
    enter(run, say, recipe)
    from palmetto.training import pace
    from palmetto.training.step.execution import Execution

    execution = Execution(recipe, run.train_store, vocabularies.load(run.vocabulary))
    found = pace.measure(execution, run)
    left = (deadline - time.monotonic()) - _ENDING * (deadline - begun)
    fits = int((left - found.start) / (found.step * (1 + _UNSEEN)))
    steps = min(fits, execution.order.steps_that_fit())
    if steps < 1:
        raise UserError(
            f"--minutes: starting takes {found.start:.0f} s here and a step {found.step:.1f} s, and {max(left, 0):.0f} "
            "s are left; expected more. Tokens and kernels are kept, so that a second try begins with them"
        )
    text = f"a step takes {found.step * 1000:,.0f} ms here: training.steps={steps}"
    say(text if steps == fits else f"{text}, since the text is used up after them; training.epochs would give more")
    chosen = with_steps(recipe, steps)
    sense.check(chosen)
    return chosen


def with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Returns the recipe with another number of steps."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"steps": steps})})
