"""Slow divergence: a loss that rises little by little, which the spike detector's running median follows.

It is told, not healed: where training goes wrong for a thousand steps, going back a hundred does not help.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_PATIENCE = 3
"""Blocks in a row above the lowest that make a rise."""
_DEVIATIONS = 6.0
"""Standard deviations of a block's mean above the lowest that count. The lowest of many is itself some three below."""
_SHARE = 0.01
"""The least share of the lowest that counts, so that a loss without noise is not judged by its last digits."""


class Rise(NamedTuple):
    """A stretch of the live path whose mean losses stayed above the lowest one before."""

    since: int
    """The last step of the block with the lowest mean."""
    noticed: int
    """The step at which the rise had lasted long enough."""
    until: int | None
    """The last step of the first block that was low again; None where none was."""
    lowest: float
    loss: float
    """Mean losses, in nats: of the lowest block, and of the last one of the rise."""

    def __str__(self) -> str:
        return (
            f"the mean loss has risen from {self.lowest:.3f} at step {self.since} to {self.loss:.3f}, little by "
            "little; no rollback can mend that: a lower training.schedule.peak may"
        )


def rises(losses: Sequence[float] | npt.NDArray[np.float64], window: int) -> list[Rise]:
    """Returns the rises along the live path, whose steps' losses are given from step 1, by blocks of `window` steps.

    Steps without a finite loss are left out; a block of nothing else counts as neither high nor low.
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
