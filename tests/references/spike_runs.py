"""Simulated runs whose observations follow a curve, with loss spikes, NaNs and overflows."""

import math
from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from palmetto.recipe.training import Spikes
from palmetto.training.spikes import Exhausted, History, Observation, Rollback

SMALL = Spikes(window=16, patience=3, nonfinite_patience=4, rewind=20, skip=60, attempts=3)
RAMP = 100
"""The step after which batches have twice as many sequences."""


def sequences_before(step: int) -> int:
    """Returns the number of sequences in the batches before a step."""
    return 8 * (step - 1) + 8 * max(0, step - 1 - RAMP)


def sequences_between(a: int, b: int) -> int:
    """Returns the number of sequences in the batches of steps a + 1 … b."""
    return sequences_before(b + 1) - sequences_before(a + 1)


def noise(number: int) -> float:
    """Returns a pseudorandom value between −1 and 1."""
    return 2 * (math.sin(12.9898 * number) * 43758.5453 % 1) - 1


def calm(step: int, position: int) -> Observation:
    """Returns a step without trouble: the loss falls slowly, with noise that depends on the data."""
    loss = 3 + 4 * (step + 10) ** -0.5 + 0.02 * noise(position)
    return Observation(step, loss, 1 + 0.1 * noise(position + 1), True)


def loss_spike(step: int, position: int) -> Observation:
    """Returns a step with a suspicious loss."""
    return calm(step, position)._replace(loss=6.0)


def gradient_spike(step: int, position: int) -> Observation:
    """Returns a step with a suspicious gradient norm."""
    return calm(step, position)._replace(grad_norm=9.0)


def not_finite(step: int, position: int) -> Observation:
    """Returns a step whose loss is NaN."""
    return Observation(step, math.nan, math.nan, False)


def overflow(step: int, position: int) -> Observation:
    """Returns a step skipped for its loss scale, whose loss would be suspicious."""
    return Observation(step, 6.0, math.inf, False, overflow=True)


Trouble = Callable[[int, int], Observation]
Curve = Callable[[int, int, int], Observation]
"""(attempt, step, position in the data) → observation."""


class Taken(NamedTuple):
    """Holds a step that was taken, and the sequences that it read."""

    attempt: int
    observation: Observation
    first: int
    end: int
    """The range of the sequences that it read."""


class Run:
    """Simulates a run whose steps follow a curve."""

    def __init__(self, curve: Curve, spikes: Spikes = SMALL) -> None:
        self.curve, self.spikes = curve, spikes
        self.history = History(spikes, sequences_between)
        self.taken: list[Taken] = []
        self.rollbacks: list[Rollback] = []
        self.exhausted: Exhausted | None = None

    def go(self, until: int, lines: int = 10**9) -> "Run":
        """Takes steps until step `until`, or until the ledger has `lines` lines."""
        while self.history.step < until and len(self.taken) < lines and not self.exhausted:
            step = self.history.step + 1
            first = sequences_before(step) + sum(n for after, n in self.history.skips if after < step)
            observation = self.curve(self.history.attempt, step, first)
            self.taken.append(
                Taken(self.history.attempt, observation, first, first + sequences_between(step - 1, step))
            )
            self._note(self.history.feed(observation))
        return self

    def _note(self, decision: Rollback | Exhausted | None) -> None:
        if isinstance(decision, Rollback):
            self.rollbacks.append(decision)
            places = [after for after, _ in self.history.skips]
            assert places == sorted(set(places)), "one skip a place, in order"
        self.exhausted = decision if isinstance(decision, Exhausted) else None

    def resumed(self, checkpoint: int) -> "Run":
        """Returns the run as resumed from a checkpoint of the live path, with its ledger cut and a new history."""
        attempt = self.history.attempt
        again = Run(self.curve, self.spikes)
        again.taken = [t for t in self.taken if t.attempt < attempt or t.observation.step <= checkpoint]
        for taken in again.taken:
            assert (again.history.attempt, again.history.step + 1) == (taken.attempt, taken.observation.step)
            again._note(again.history.feed(taken.observation))
        return again

    @property
    def outcome(self) -> object:
        """Returns all results of the run as text, in which NaNs compare equal."""
        history = self.history
        return repr(
            (
                self.taken,
                history.rollbacks,
                history.skips,
                history.attempt,
                history.step,
                history.not_finite,
                self.rollbacks,
                self.exhausted,
            )
        )


def trouble_at(steps: range, trouble: Trouble, attempts: range = range(1)) -> Curve:
    """Returns a curve with trouble at these steps of these attempts, whatever the data."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        return (trouble if step in steps and attempt in attempts else calm)(step, position)

    return curve


# Random runs have trouble that lies in the data, and trouble that returns at its steps whatever the data.

LITTLE = Spikes(window=8, patience=2, nonfinite_patience=3, rewind=6, skip=14, attempts=3)
UNTIL = 160
troubles = st.sampled_from([loss_spike, gradient_spike, not_finite, overflow])
stretches = st.lists(st.tuples(troubles, st.integers(0, 3000), st.integers(1, 120)), max_size=8)
stubborn = st.lists(st.tuples(troubles, st.integers(20, UNTIL), st.integers(1, 6)), max_size=2)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Draws a curve with trouble in the data and trouble at fixed steps."""
    in_data, at_steps = draw(stretches), draw(stubborn)

    def curve(attempt: int, step: int, position: int) -> Observation:
        for trouble, first, length in in_data:
            if first - 16 < position < first + length:
                return trouble(step, position)
        for trouble, first, length in at_steps:
            if first <= step < first + length:
                return trouble(step, position)
        return calm(step, position)

    return curve
