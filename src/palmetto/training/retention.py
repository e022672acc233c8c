"""Retention of checkpoints: those that the recipe asks for, and those that a rollback may need.

A rollback may lead to any step, since spikes can follow each other as long as a run lasts. So checkpoints are thinned
with age: steps are divided into cells, wider the older they are, and each cell keeps its first checkpoint. A cell lies
within one cell of any greater width, so the first checkpoint of a wide cell was never deleted in a narrow one, whatever
the order of saving, deleting and rolling back. Therefore, for any step, a checkpoint is kept at most one cell before
the newest one that was ever written up to that step.
"""

from collections.abc import Sequence

from palmetto.recipe import Recipe
from palmetto.recipe.training import Training
from palmetto.training.checkpoint import Checkpoints
from palmetto.training.digest import Digest
from palmetto.training.ledger import Ledger
from palmetto.training.replay import At, LivePath
from palmetto.training.spikes import reach
from palmetto.training.step.execution import Execution


class Retention:
    """Writes and deletes the checkpoints of a run."""

    def __init__(
        self, recipe: Recipe, execution: Execution, checkpoints: Checkpoints, ledger: Ledger, form: Digest
    ) -> None:
        """Keeps its arguments; `form` computes the digests of checkpoints in the form that the run uses."""
        self._recipe, self._execution, self._checkpoints = recipe, execution, checkpoints
        self._ledger, self._form = ledger, form

    def save(self, at: At, path: LivePath) -> None:
        """Deletes the checkpoints that are not needed, then starts writing the one of this step unless it exists."""
        self._checkpoints.wait()
        if at.step == 0 or at.step in self._checkpoints.steps():
            return
        self.prune(path)
        self._ledger.sync()
        attempt = path.lines[at.step - 1].attempt
        self._checkpoints.save(
            self._execution.at_hand(at.state),
            self._form,
            step=at.step,
            attempt=attempt,
            recipe=self._recipe.digest,
            tokens=self._execution.store.checksum,
            chain=self._ledger.chain_at(attempt, at.step),
        )

    def prune(self, path: LivePath) -> None:
        """Deletes the checkpoints that neither the recipe asks to keep nor a rollback may need.

        Checkpoints beyond the target of the last rollback stay until it is reached; see `leave_behind`.
        """
        steps = [step for step in self._checkpoints.steps() if step <= path.step]
        self._delete([step for step in steps if step not in retained(self._recipe.training, steps)])

    def leave_behind(self, path: LivePath) -> None:
        """Deletes the checkpoints beyond the end of the live path, once that end is reached."""
        self._checkpoints.wait()
        self._delete([step for step in self._checkpoints.steps() if step > path.step])

    def _delete(self, steps: Sequence[int]) -> None:
        for step in steps:
            self._checkpoints.delete(step)


def retained(training: Training, steps: Sequence[int]) -> set[int]:
    """Returns the steps of the checkpoints to keep, given those of all on the live path, ascending."""
    kept = set(steps[-training.keep_last :])
    if training.keep_every:
        kept |= {step for step in steps if step % training.keep_every == 0}
    if training.spikes.attempts:
        near = reach(training.spikes)
        befores = (None, *steps)
        for before, step in zip(befores, steps, strict=False):
            width = cell(steps[-1] - step, near)
            if before is None or before // width != step // width:
                kept.add(step)
    return kept


def cell(distance: int, near: int) -> int:
    """Returns the width in steps, a power of two, of the cell at a distance before the newest checkpoint.

    The width is at most a quarter of the distance up to `near`, which consecutive rollbacks may reach, and at most the
    distance beyond. It never decreases with the distance.
    """
    most = distance // 4 if distance <= near else distance
    return 1 << max(0, most.bit_length() - 1)
