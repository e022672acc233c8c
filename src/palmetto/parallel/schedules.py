"""Schedules of a pipeline: a table says when each stage works on which micro-batch; all else follows from it.

All stages keep time together. A tick has two halves, a forward one and a backward one; in each a stage takes one
micro-batch or none, and what it makes is with its neighbour when the next tick begins. A half in which no stage has
anything to do takes no time. So whatever the two directions cost, no stage waits for a neighbour that goes the other
way, as it would if they took their turns in the same half: each micro-batch would take twice the longer of the two.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from palmetto.recipe import Recipe

Schedule = Literal["gpipe", "1f1b"]

Numbers = npt.NDArray[np.int32]


class Timetable(NamedTuple):
    """The number of the micro-batch at each tick and stage, int32 [ticks, stages]; −1 where there is none."""

    forward: Numbers
    backward: Numbers

    @property
    def in_flight(self) -> Numbers:
        """The most micro-batches whose input each stage keeps, from their forward to their backward half, [stages]."""
        begins, ends = (half >= 0 for half in self)
        most: Numbers = np.max(np.cumsum(begins, axis=0) - np.cumsum(ends, axis=0) + ends, axis=0)
        return most

    @property
    def bubble(self) -> float:
        """The share of its time in which a stage is idle; it does not depend on what forward and backward cost."""
        idle = [1 - np.mean(half[np.any(half >= 0, axis=1)] >= 0) for half in (self.forward, self.backward)]
        assert idle[0] == idle[1], "the share would depend on what forward and backward cost"
        return float(idle[0])


def timetable(schedule: Schedule, stages: int, micro_batches: int) -> Timetable:
    """Returns the table of S stages and M micro-batches; both schedules idle for (S − 1)/(M + S − 1) of the time.

    Micro-batches follow each other a tick apart, forwards from the first stage on and backwards from the last. The
    schedules differ in when the last stage turns the first one round:

    - gpipe: when it has seen all of them, so that M are in flight (arXiv 1811.06965, section 2.3);
    - 1f1b: at once. From then on a stage takes one forward and one backward each tick, and stage s has at most
      2·(S − s) − 1 in flight, whatever M. It is the eager 1F1B of arXiv 2211.05322. Where stages do not keep time
      together S − s would do (arXiv 2006.09503, section 2.2).
    """
    assert stages > 0
    assert micro_batches > 0
    turn = stages - 1 if schedule == "1f1b" else micro_batches + stages - 2
    tick, stage = np.arange(turn + micro_batches + stages - 1)[:, None], np.arange(stages)

    def numbers(since: npt.NDArray[np.int_]) -> Numbers:
        return np.where((since >= 0) & (since < micro_batches), since, -1).astype(np.int32)

    return Timetable(numbers(tick - stage), numbers(tick - turn - (stages - 1 - stage)))


class Filled(NamedTuple):
    """How full a recipe's pipeline is from a step on."""

    from_step: int
    micro_batches: int
    """So many pass through it, one after the other."""
    bubble: float
    """The share of its time in which a stage is idle."""


def filled(recipe: Recipe) -> list[Filled]:
    """Returns how full a recipe's pipeline is in each stage of its batch ramp; a mesh of one stage is never idle."""
    mesh, training = recipe.mesh, recipe.training
    at_once = mesh.pod * mesh.data * mesh.expert * training.micro_batch
    counts = [(first + 1, size // at_once) for first, size in training.batch_ramp]
    return [Filled(step, count, timetable(mesh.schedule, mesh.stage, count).bubble) for step, count in counts]
