"""A run keeps the checkpoints that its recipe names, and those that a rollback may need.

Any step may be gone back to, since spikes can follow each other for as long as a run lasts. So checkpoints are thinned,
never used up: the further behind the newest, the wider the cells of which each keeps its first checkpoint. A cell of
one width lies within one of any greater width, so that what is the first of a wide cell was never deleted as part of a
narrow one, whatever the order of saving, deleting and rolling back. Then from any step there is a checkpoint at most
one cell before the newest that was ever written up to that step.
"""

from collections.abc import Sequence

from palmetto.recipe.training import Training
from palmetto.training.spikes import reach


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
