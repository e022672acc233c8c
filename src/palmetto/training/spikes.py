"""Loss spikes: when to roll back and which batches to pass over, as a pure function of the ledger.

A `History` is fed the ledger's lines one by one and holds all that follows from them: the live path (the steps that
the current parameters went through), the skip list, and whether the last line completed a spike. Nothing of it needs a
place in a checkpoint, so a resumed run and a replayed one decide as the first did.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from palmetto.recipe.training import Spikes
from palmetto.training.recent import Recent

Skips = tuple[tuple[int, int], ...]
"""(after step, sequences passed over), ascending."""


class Observation(NamedTuple):
    """What the detector knows of one step."""

    step: int
    loss: float
    grad_norm: float
    applied: bool
    """Whether loss, gradients and update were all finite."""
    overflow: bool = False
    """Whether it was left out for a loss scale that was too large, which mends itself."""


class Rollback(NamedTuple):
    """The decision to go back."""

    attempt: int
    """Number of the attempt that begins: the first is 0, each rollback adds one."""
    detected: int
    """The step at which the spike was complete."""
    onset: int
    """Its first suspicious step."""
    target: int
    """Training goes on from the state after this step."""
    batches: int
    """Batches passed over from there."""
    sequences: int
    """The same in sequences, those of earlier skips behind the target included."""
    reason: Literal["loss spike", "NaN or Inf"]


class Exhausted(NamedTuple):
    """The spike came back more often than the recipe permits."""

    detected: int
    onset: int
    rollbacks: int


class _Record(NamedTuple):
    observation: Observation
    verdict: Literal["accepted", "suspicious loss", "suspicious gradient", "not finite", "overflow"]


class History:
    """The live path of a run, its skip list and its detector."""

    def __init__(self, settings: Spikes, sequences_between: Callable[[int, int], int]) -> None:
        """`sequences_between(a, b)` is the number of sequences in the batches of steps a + 1 … b."""
        self._settings = settings
        self._sequences_between = sequences_between
        self._path: list[_Record] = []
        self._losses, self._norms = Recent(settings.window), Recent(settings.window)
        self.rollbacks: list[Rollback] = []
        self.skips: Skips = ()
        self.not_finite = 0
        """Steps on all attempts whose update was left out for a NaN or Inf; overflows are not among them."""
        self._in_a_row = 0
        self._taken = False
        """True once this attempt has taken a step."""

    @property
    def attempt(self) -> int:
        return len(self.rollbacks)

    @property
    def step(self) -> int:
        """Returns the last step of the live path."""
        return len(self._path)

    def feed(self, observation: Observation) -> Rollback | Exhausted | None:
        """Takes the next step of the live path. Returns the decision if it completes a spike."""
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
        """Has a step count among those that later ones are measured by.

        A gradient norm that jumps and stays must become the new measure; a loss must not.
        """
        if record.verdict in ("accepted", "suspicious gradient"):
            self._losses.add(record.observation.loss)
            self._norms.add(record.observation.grad_norm)

    def _decide(self) -> Rollback | Exhausted | None:
        # The streak is bounded, so that what a rollback can need is known beforehand.
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
        # What was passed over behind the target would come back with it: it joins the new skip.
        sequences = self._sequences_between(target, target + batches) + sum(n for r, n in self.skips if r >= target)
        self._begin(Rollback(self.attempt + 1, detected, onset, target, batches, sequences, reason))
        return self.rollbacks[-1]

    def _begin(self, rollback: Rollback) -> None:
        """Puts the run where a rollback leads."""
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

        The first line of an attempt may lie before its rollback's target: see `deepen`.
        """
        return attempt == self.attempt and (step == self.step + 1 or (self._is_fresh and 1 <= step <= self.step))

    def expect(self, step: int) -> None:
        """Moves to the step before `step`, the next line's, which is further back only as `follows` permits."""
        assert self.follows(self.attempt, step), "the live path has no gaps"
        if step <= self.step:
            self.deepen(step - 1)

    def deepen(self, target: int) -> Rollback:
        """Moves the target of the rollback just decided further back; training reads on at the same place of the data.

        A run does so where it cannot reach the target with the same bits; the ledger shows it by its next line.
        """
        assert self._is_fresh, "nothing has been trained from the old target"
        assert 0 <= target <= self.step
        last = self.rollbacks.pop()
        between = self._sequences_between(target, last.target)
        sequences = between + sum(n for r, n in self.skips if r >= target)  # the last one's is among them
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
    """Returns the most steps that all rollbacks of one row, each for the same spike, may go back together."""
    # A streak has at most `rewind` steps, of which some may lie before the target of the rollback before: the n-th goes
    # less than rewind + n · rewind behind the last step.
    return settings.rewind * settings.attempts * (settings.attempts + 3) // 2
