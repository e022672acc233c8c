"""Pipeline schedules: a timetable says which micro-batch each stage processes at each tick.

All stages run in lockstep. A tick has a forward half and a backward half; in each half a stage processes one
micro-batch or none, and its result reaches the neighbouring stage by the next tick. A half in which no stage has work
takes no time. Forward and backward work never share a half, so no stage waits for one that runs the other direction;
otherwise each micro-batch would take twice the longer of the two.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.recipe import Recipe

Schedule = Literal["gpipe", "1f1b"]

Numbers = npt.NDArray[np.int32]


class Timetable(NamedTuple):
    """Holds the number of the micro-batch at each tick and stage, int32 [ticks, stages]; −1 for none."""

    forward: Numbers
    backward: Numbers

    @property
    def in_flight(self) -> Numbers:
        """The largest number of micro-batches whose input each stage keeps for its backward half, [stages]."""
        begins, ends = (half >= 0 for half in self)
        most: Numbers = np.max(np.cumsum(begins, axis=0) - np.cumsum(ends, axis=0) + ends, axis=0)
        return most

    @property
    def bubble(self) -> float:
        """The fraction of the time in which a stage is idle; it is independent of the costs of forward and backward."""
        idle = [1 - np.mean(half[np.any(half >= 0, axis=1)] >= 0) for half in (self.forward, self.backward)]
        assert idle[0] == idle[1], "the share would depend on what forward and backward cost"
        return float(idle[0])


def timetable(schedule: Schedule, stages: int, micro_batches: int) -> Timetable:
    """Returns the timetable of S stages and M micro-batches; both schedules idle for (S − 1)/(M + S − 1) of the time.

    Micro-batches follow each other one tick apart, forward from the first stage and backward from the last. The
    schedules differ in when the last stage starts the first backward pass:

    - gpipe: after all forward passes, so that M are in flight (arXiv 1811.06965, section 2.3);
    - 1f1b: at once. From then on a stage runs one forward and one backward pass each tick, and stage s has at most
      2·(S − s) − 1 in flight for any M. It is the eager 1F1B of arXiv 2211.05322. Stages that do not run in lockstep
      would need only S − s (arXiv 2006.09503, section 2.2).
    """
    assert stages > 0
    assert micro_batches > 0
    turn = stages - 1 if schedule == "1f1b" else micro_batches + stages - 2
    tick, stage = np.arange(turn + micro_batches + stages - 1)[:, None], np.arange(stages)

    def numbers(since: npt.NDArray[np.int_]) -> Numbers:
        return np.where((since >= 0) & (since < micro_batches), since, -1).astype(np.int32)

    return Timetable(numbers(tick - stage), numbers(tick - turn - (stages - 1 - stage)))


class Filled(NamedTuple):
    """Describes the pipeline of a recipe in one stage of its batch ramp."""

    from_step: int
    micro_batches: int
    """The number of micro-batches that pass through the pipeline in a step."""
    bubble: float
    """The fraction of the time in which a stage is idle."""


def filled(recipe: Recipe) -> list[Filled]:
    """Returns the use of a recipe's pipeline in each phase of its batch ramp; a mesh of one stage is never idle."""
    mesh, training = recipe.mesh, recipe.training
    at_once = mesh.pod * mesh.data * mesh.expert * training.micro_batch
    counts = [(first + 1, size // at_once) for first, size in training.batch_ramp]
    return [Filled(step, count, timetable(mesh.schedule, mesh.stage, count).bubble) for step, count in counts]
