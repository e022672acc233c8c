"""A run keeps the checkpoints that its recipe names, and those that a rollback may need.

Any step may be gone back to, since spikes can follow each other for as long as a run lasts. So checkpoints are thinned,
never used up: the further behind the newest, the wider the cells of which each keeps its first checkpoint. A cell of
one width lies within one of any greater width, so that what is the first of a wide cell was never deleted as part of a
narrow one, whatever the order of saving, deleting and rolling back. Then from any step there is a checkpoint at most
one cell before the newest that was ever written up to that step.
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
    """The checkpoints of a run as it goes on: which are written, and which are deleted."""

    def __init__(
        self, recipe: Recipe, execution: Execution, checkpoints: Checkpoints, ledger: Ledger, form: Digest
    ) -> None:
        """`form` is the form that the run's digests have."""
        self._recipe, self._execution, self._checkpoints = recipe, execution, checkpoints
        self._ledger, self._form = ledger, form

    def save(self, at: At, path: LivePath) -> None:
        """Begins to write a checkpoint, unless it is there, once those that are not needed are deleted."""
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
        """Deletes the checkpoints that neither the recipe asks to keep nor a rollback could need.

        Those that a rollback has just left behind stay until its target is reached: see `leave_behind`.
        """
        steps = [step for step in self._checkpoints.steps() if step <= path.step]
        self._delete([step for step in steps if step not in retained(self._recipe.training, steps)])

    def leave_behind(self, path: LivePath) -> None:
        """Deletes the checkpoints behind the end of the live path, once that is reached."""
        self._checkpoints.wait()
        self._delete([step for step in self._checkpoints.steps() if step > path.step])

    def _delete(self, steps: Sequence[int]) -> None:
        for step in steps:
            self._checkpoints.delete(step)


def retained(training: Training, steps: Sequence[int]) -> set[int]:
    """Returns those of the live path's checkpoints, at `steps`, ascending, that are kept."""
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
    """Returns the width in steps, a power of two, of a cell that begins so many steps behind the newest checkpoint.

    It is at most a quarter of the distance where rollbacks in a row may lead, up to `near`, and at most the distance
    further back. It never falls with the distance.
    """
    most = distance // 4 if distance <= near else distance
    return 1 << max(0, most.bit_length() - 1)
