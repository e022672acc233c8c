"""The handling of loss spikes: when to roll back and which batches to skip, as a pure function of the ledger.

A `History` is fed the ledger's lines one by one and derives everything from them: the live path (the steps that led to
the current parameters), the skip list, and whether the last line completed a spike. None of this is stored in
checkpoints, so a resumed or replayed run makes the same decisions (PaLM, section 5.1).
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from palmetto.recipe.training import Spikes
from palmetto.training.recent import Recent

Skips = tuple[tuple[int, int], ...]
"""Pairs (step after which sequences are skipped, number of sequences skipped), ascending."""


class Observation(NamedTuple):
    """Holds what the spike detector knows of one step."""

    step: int
    loss: float
    grad_norm: float
    applied: bool
    """True if loss, gradients and update were all finite."""
    overflow: bool = False
    """True if the update was skipped because the loss scale was too large, which corrects itself."""


class Rollback(NamedTuple):
    """Holds a decision to roll back."""

    attempt: int
    """The number of the new attempt; the first attempt is 0."""
    detected: int
    """The step at which the spike was detected."""
    onset: int
    """The first suspicious step of the spike."""
    target: int
    """The step after which training resumes."""
    batches: int
    """The number of batches skipped there."""
    sequences: int
    """The number of sequences skipped there, including those of earlier skips after the target."""
    reason: Literal["loss spike", "NaN or Inf"]


class Exhausted(NamedTuple):
    """Holds a decision to give up, because a spike came back more often than the recipe permits."""

    detected: int
    onset: int
    rollbacks: int


class _Record(NamedTuple):
    observation: Observation
    verdict: Literal["accepted", "suspicious loss", "suspicious gradient", "not finite", "overflow"]


class History:
    """Holds the live path of a run, its skip list and its spike detector."""

    def __init__(self, settings: Spikes, sequences_between: Callable[[int, int], int]) -> None:
        """Starts empty; `sequences_between(a, b)` gives the number of sequences in the batches of steps a + 1 … b."""
        self._settings = settings
        self._sequences_between = sequences_between
        self._path: list[_Record] = []
        self._losses, self._norms = Recent(settings.window), Recent(settings.window)
        self.rollbacks: list[Rollback] = []
        self.skips: Skips = ()
        self.not_finite = 0
        """The number of steps in all attempts skipped for a NaN or Inf, without overflows of the loss scale."""
        self._in_a_row = 0
        self._taken = False
        """True if this attempt has taken a step."""

    @property
    def attempt(self) -> int:
        """Returns the number of the current attempt."""
        return len(self.rollbacks)

    @property
    def step(self) -> int:
        """Returns the last step of the live path."""
        return len(self._path)

    def feed(self, observation: Observation) -> Rollback | Exhausted | None:
        """Adds the next step of the live path, and returns the decision if it completes a spike."""
        self.expect(observation.step)
        self._taken = True
        self._path.append(_Record(observation, self._judge(observation)))
        self._measure_by(self._path[-1])
        self.not_finite += self._path[-1].verdict == "not finite"
        return self._decide()

    def _judge(
        self, observation: Observation
    ) -> Literal["accepted", "suspicious loss", "suspicious gradient", "not finite", "overflow"]:
        if observation.overflow:
            return "overflow"
        if not observation.applied:
            return "not finite"
        if 2 * len(self._losses) < self._settings.window:
            return "accepted"
        if self._losses.is_far_below(observation.loss, self._settings.threshold):
            return "suspicious loss"
        if self._norms.is_far_below(observation.grad_norm, self._settings.threshold):
            return "suspicious gradient"
        return "accepted"

    def _measure_by(self, record: _Record) -> None:
        """Adds a step to those that later ones are compared with, unless its loss is suspicious or not finite.

        A gradient norm that jumps and stays must become the new norm; a loss must not.
        """
        if record.verdict in ("accepted", "suspicious gradient"):
            self._losses.add(record.observation.loss)
            self._norms.add(record.observation.grad_norm)

    def _decide(self) -> Rollback | Exhausted | None:
        # The streak is bounded, so that the checkpoints that a rollback can need are known beforehand.
        streak: list[_Record] = []
        for record in reversed(self._path[-self._settings.rewind :]):
            if record.verdict in ("accepted", "overflow"):
                break
            streak.append(record)
        losses = sum(record.verdict == "suspicious loss" for record in streak)
        not_finite = sum(record.verdict == "not finite" for record in streak)
        if not_finite >= self._settings.nonfinite_patience:
            reason: Literal["loss spike", "NaN or Inf"] = "NaN or Inf"
        elif losses >= self._settings.patience:
            reason = "loss spike"
        else:
            return None
        onset, detected = streak[-1].observation.step, streak[0].observation.step
        again = bool(self.rollbacks) and onset <= self.rollbacks[-1].detected + self._settings.rewind
        self._in_a_row = self._in_a_row + 1 if again else 1
        if self._in_a_row > self._settings.attempts:
            return Exhausted(detected, onset, self._in_a_row - 1)
        return self._roll_back(onset, detected, reason)

    def _roll_back(self, onset: int, detected: int, reason: Literal["loss spike", "NaN or Inf"]) -> Rollback:
        settings = self._settings
        target = max(0, onset - settings.rewind * self._in_a_row)
        batches = settings.skip + settings.rewind * (self._in_a_row - 1)
        # Sequences skipped after the target would otherwise come back, so they join the new skip.
        sequences = self._sequences_between(target, target + batches) + sum(n for r, n in self.skips if r >= target)
        self._begin(Rollback(self.attempt + 1, detected, onset, target, batches, sequences, reason))
        return self.rollbacks[-1]

    def _begin(self, rollback: Rollback) -> None:
        """Applies a rollback to path, skip list and detector."""
        target = rollback.target
        self.skips = (*((r, n) for r, n in self.skips if r < target), (target, rollback.sequences))
        self._path = self._path[:target]
        self._losses, self._norms = Recent(self._settings.window), Recent(self._settings.window)
        for record in self._path:
            self._measure_by(record)
        self.rollbacks.append(rollback)
        self._taken = False

    def follows(self, attempt: int, step: int) -> bool:
        """Returns whether a line of this attempt and step may come next in the ledger.

        The first line of an attempt may come before the target of its rollback; see `deepen`.
        """
        return attempt == self.attempt and (step == self.step + 1 or (self._is_fresh and 1 <= step <= self.step))

    def expect(self, step: int) -> None:
        """Deepens the last rollback if the next line's step, which must satisfy `follows`, is before its target."""
        assert self.follows(self.attempt, step), "the live path has no gaps"
        if step <= self.step:
            self.deepen(step - 1)

    def deepen(self, target: int) -> Rollback:
        """Moves the target of the last rollback further back and returns it; the position in the data stays the same.

        This happens if a run cannot reach the target with the same bits; the ledger shows it by its next line.
        """
        assert self._is_fresh, "nothing has been trained from the old target"
        assert 0 <= target <= self.step
        last = self.rollbacks.pop()
        between = self._sequences_between(target, last.target)
        sequences = between + sum(n for r, n in self.skips if r >= target)  # including that of the last rollback
        batches = last.batches + last.target - target
        self._begin(last._replace(target=target, batches=batches, sequences=sequences))
        return self.rollbacks[-1]

    @property
    def _is_fresh(self) -> bool:
        return bool(self.rollbacks) and self.step == self.rollbacks[-1].target and not self._taken

    def is_live(self, attempt: int, step: int) -> bool:
        """Returns whether the state after `step` of `attempt` lies on the live path."""
        return all(step <= rollback.target for rollback in self.rollbacks[attempt:])


def reach(settings: Spikes) -> int:
    """Returns the most steps that consecutive rollbacks for one spike may go back together."""
    # A streak has at most `rewind` steps, some of which may precede the target of the previous rollback: the n-th
    # rollback goes back less than rewind + n · rewind steps from the last step.
    return settings.rewind * settings.attempts * (settings.attempts + 3) // 2
