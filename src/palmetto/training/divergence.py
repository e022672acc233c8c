"""Detection of slow divergence, a gradual rise of the loss that the spike detector's running median follows.

It is reported, not repaired: if training goes wrong for a thousand steps, going back a hundred does not help.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_PATIENCE = 3
"""The number of consecutive blocks above the lowest mean that make a rise."""
_DEVIATIONS = 6.0
"""The margin above the lowest mean in standard deviations of a block's mean; the lowest of many is itself low by ~3."""
_SHARE = 0.01
"""The least margin as a share of the lowest mean, so that a loss without noise is not judged by its last digits."""


class Rise(NamedTuple):
    """Holds a stretch of the live path whose mean losses stayed above the lowest mean before it."""

    since: int
    """The last step of the block with the lowest mean."""
    noticed: int
    """The step at which the rise had lasted long enough."""
    until: int | None
    """The last step of the first block that was low again; None if none was."""
    lowest: float
    loss: float
    """The mean losses in nats per token of the lowest block (`lowest`) and of the last block of the rise (`loss`)."""

    def __str__(self) -> str:
        return (
            f"the mean loss has risen from {self.lowest:.3f} at step {self.since} to {self.loss:.3f}, little by "
            "little; no rollback can mend that: a lower training.schedule.peak may"
        )


def rises(losses: Sequence[float] | npt.NDArray[np.float64], window: int) -> list[Rise]:
    """Returns the rises of the losses of the live path, given from step 1 on, in blocks of `window` steps.

    Steps without a finite loss are ignored; a block without any finite loss counts as neither high nor low.
    """
    whole = len(losses) // window
    blocks = np.asarray(losses, float)[: whole * window].reshape(whole, window)
    found, above = list[Rise](), 0
    lowest, since, margin = np.inf, 0, 0.0
    for number, block in enumerate(blocks, 1):
        finite = block[np.isfinite(block)]
        if not len(finite):
            continue
        mean, step = float(finite.mean()), number * window
        if mean <= lowest + margin:
            if above >= _PATIENCE:
                found[-1] = found[-1]._replace(until=step)
            above = 0
            if mean < lowest:
                spread = 1.4826 * float(np.median(np.abs(finite - np.median(finite))))
                lowest, since = mean, step
                margin = max(_DEVIATIONS * spread / np.sqrt(len(finite)), _SHARE * abs(mean))
            continue
        above += 1
        if above == _PATIENCE:
            found.append(Rise(since, step, None, lowest, mean))
        elif above > _PATIENCE:
            found[-1] = found[-1]._replace(loss=mean)
    return found
