"""Spike recovery on simulated runs: what is found, how far it goes back, which data it passes over, and that a run
that is killed, resumed or replayed decides the same."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.recipe.training import Spikes
from palmetto.training.ledger import Line
from palmetto.training.spikes import Exhausted, History, Observation, Rollback, reach
from palmetto.training.step.execution import observe

SMALL = Spikes(window=16, patience=3, nonfinite_patience=4, rewind=20, skip=60, attempts=3)
RAMP = 100
"""The step after which a batch has twice the sequences."""


def sequences_before(step: int) -> int:
    return 8 * (step - 1) + 8 * max(0, step - 1 - RAMP)


def sequences_between(a: int, b: int) -> int:
    """Of steps a + 1 … b."""
    return sequences_before(b + 1) - sequences_before(a + 1)


def noise(number: int) -> float:
    """Between −1 and 1, without a pattern."""
    return 2 * (math.sin(12.9898 * number) * 43758.5453 % 1) - 1


def calm(step: int, position: int) -> Observation:
    """A step of a run without trouble: its loss falls slowly, its noise is that of its data."""
    loss = 3 + 4 * (step + 10) ** -0.5 + 0.02 * noise(position)
    return Observation(step, loss, 1 + 0.1 * noise(position + 1), True)


def loss_spike(step: int, position: int) -> Observation:
    return calm(step, position)._replace(loss=6.0)


def gradient_spike(step: int, position: int) -> Observation:
    return calm(step, position)._replace(grad_norm=9.0)


def not_finite(step: int, position: int) -> Observation:
    return Observation(step, math.nan, math.nan, False)


def overflow(step: int, position: int) -> Observation:
    """Left out for its loss scale; what is left in the loss would be suspicious."""
    return Observation(step, 6.0, math.inf, False, overflow=True)


Trouble = Callable[[int, int], Observation]
Curve = Callable[[int, int, int], Observation]
"""What an attempt gives at a step on the data from a position on."""


class Taken(NamedTuple):
    """A step as the ledger and the data know it."""

    attempt: int
    observation: Observation
    first: int
    end: int
    """The sequences it read."""


class Run:
    """A simulated run."""

    def __init__(self, curve: Curve, spikes: Spikes = SMALL) -> None:
        self.curve, self.spikes = curve, spikes
        self.history = History(spikes, sequences_between)
        self.taken: list[Taken] = []
        self.rollbacks: list[Rollback] = []
        self.exhausted: Exhausted | None = None

    def go(self, until: int, lines: int = 10**9) -> "Run":
        """Takes steps to `until`, or until so many lines are in the ledger."""
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
        """The run after a kill: its ledger cut to a checkpoint of the live path, and fed to a new history."""
        attempt = self.history.attempt
        again = Run(self.curve, self.spikes)
        again.taken = [t for t in self.taken if t.attempt < attempt or t.observation.step <= checkpoint]
        for taken in again.taken:
            assert (again.history.attempt, again.history.step + 1) == (taken.attempt, taken.observation.step)
            again._note(again.history.feed(taken.observation))
        return again

    @property
    def outcome(self) -> object:
        """All that anyone can ask of it, NaN made comparable."""
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
    """Trouble at these steps of these attempts, whatever the data."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        return (trouble if step in steps and attempt in attempts else calm)(step, position)

    return curve


@pytest.mark.parametrize("onset", [15, 60, 99, 150])
def test_a_loss_spike_is_found_within_its_patience_and_passed_over(onset: int) -> None:
    run = Run(trouble_at(range(onset, 10**6), loss_spike)).go(300)
    detected, target = onset + 2, max(0, onset - 20)
    sequences = sequences_between(target, target + 60)
    assert run.rollbacks == [Rollback(1, detected, onset, target, 60, sequences, "loss spike")]
    assert run.history.skips == ((target, sequences),)
    assert (run.history.attempt, run.history.step) == (1, 300)


def test_the_numbers_of_the_paper_by_default() -> None:
    spikes = Spikes()
    assert (spikes.rewind, spikes.skip) == (100, 300)
    run = Run(trouble_at(range(500, 600), loss_spike), spikes).go(700)
    (rollback,) = run.rollbacks
    assert (rollback.onset, rollback.target, rollback.batches) == (500, 400, 300)
    assert 500 <= rollback.detected < 510


@pytest.mark.parametrize("length", [1, 2])
def test_a_spike_shorter_than_the_patience_is_let_pass(length: int) -> None:
    assert not Run(trouble_at(range(60, 60 + length), loss_spike)).go(200).rollbacks


def test_losses_that_come_back_in_time_make_no_streak() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        return (loss_spike if step % 3 else calm)(step, position) if 60 <= step < 120 else calm(step, position)

    assert not Run(curve).go(200).rollbacks


@pytest.mark.parametrize("trouble", [gradient_spike, not_finite])
def test_the_onset_is_the_first_suspicious_step_of_the_streak_whatever_it_is(trouble: Trouble) -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        return (calm if step < 60 or attempt else trouble if step < 63 else loss_spike)(step, position)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (60, 65, 40, "loss spike")


def test_gradients_alone_make_no_spike() -> None:
    assert not Run(trouble_at(range(60, 75), gradient_spike)).go(200).rollbacks


def test_nothing_is_judged_before_half_of_the_window_is_in() -> None:
    assert not Run(trouble_at(range(5, 8), loss_spike)).go(100).rollbacks
    assert Run(trouble_at(range(9, 12), loss_spike)).go(100).rollbacks


def test_a_spike_that_returns_rewinds_further_each_time_until_the_attempts_are_used_up() -> None:
    run = Run(trouble_at(range(150, 10**6), loss_spike, range(10**6))).go(400)
    assert [(r.attempt, r.detected, r.onset, r.target, r.batches) for r in run.rollbacks] == [
        (1, 152, 150, 130, 60),
        (2, 152, 150, 110, 80),
        (3, 152, 150, 90, 100),
    ]
    assert run.exhausted == Exhausted(detected=152, onset=150, rollbacks=3)
    # Each skip takes up the one before it, which lay behind its target.
    first = sequences_between(130, 190)
    second = sequences_between(110, 190) + first
    third = sequences_between(90, 190) + second
    assert [r.sequences for r in run.rollbacks] == [first, second, third]
    assert run.history.skips == ((90, third),)


def test_no_attempts_means_that_the_first_spike_ends_the_run() -> None:
    run = Run(trouble_at(range(60, 80), loss_spike), SMALL.model_copy(update={"attempts": 0})).go(100)
    assert (run.rollbacks, run.exhausted) == ([], Exhausted(62, 60, 0))


def test_a_later_spike_is_a_new_one_and_its_skip_joins_the_list() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        new = {0: range(60, 70), 1: range(150, 160)}.get(attempt, range(0))
        return (loss_spike if step in new else calm)(step, position)

    run = Run(curve)
    assert [(r.onset, r.target, r.batches) for r in run.go(300).rollbacks] == [(60, 40, 60), (150, 130, 60)]
    assert run.history.skips == ((40, sequences_between(40, 100)), (130, sequences_between(130, 190)))


def test_after_a_rollback_only_the_live_path_is_in_the_window() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        if attempt == 0 and step > 40:  # these are gone once step 40 is gone back to
            return seen._replace(loss=6.0 if step >= 60 else seen.loss + 0.2 * noise(step))
        return seen._replace(loss=seen.loss + 0.6) if attempt == 1 and step >= 45 else seen

    run = Run(curve).go(100)
    assert [(r.onset, r.detected) for r in run.rollbacks] == [(60, 62), (45, 47)]


def test_a_few_odd_steps_in_the_window_do_not_hide_a_spike() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        return seen._replace(loss=1000.0, grad_norm=1000.0) if step in (1, 3, 5) else seen

    quiet = Run(curve).go(14)
    assert not quiet.rollbacks
    decisions = [quiet.history.feed(loss_spike(step, 0)) for step in (15, 16, 17)]
    assert isinstance(decisions[-1], Rollback)


def test_persisting_nans_take_the_same_road() -> None:
    assert not Run(trouble_at(range(60, 63), not_finite)).go(100).rollbacks
    run = Run(trouble_at(range(60, 100), not_finite)).go(100)
    (rollback,) = run.rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (60, 63, 40, "NaN or Inf")
    assert run.history.not_finite == 4


def test_nans_from_the_first_step_on_end_the_run() -> None:
    run = Run(trouble_at(range(100), not_finite, range(100))).go(100)
    assert [(r.onset, r.target) for r in run.rollbacks] == [(1, 0)] * 3
    assert run.exhausted == Exhausted(4, 1, 3)


@pytest.mark.parametrize("length", [3, 4, 40])
def test_overflows_make_no_spike_however_many(length: int) -> None:
    run = Run(trouble_at(range(60, 60 + length), overflow)).go(200)
    assert (run.rollbacks, run.exhausted) == ([], None)
    assert run.history.not_finite == 0


def test_overflows_right_before_a_spike_do_not_hide_it() -> None:
    """Twelve of them among the sixteen steps that the median would be taken over."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        if attempt or step < 48:
            return seen
        return overflow(step, position) if step < 60 else seen._replace(loss=seen.loss + 0.5)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected) == (60, 62)


@pytest.mark.parametrize(("trouble", "patience"), [(loss_spike, 3), (not_finite, 4)])
def test_an_overflow_ends_a_streak_as_an_accepted_step_does(trouble: Trouble, patience: int) -> None:
    """A spike that goes on is found as many steps later; overflows are few while the scale falls."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        return (calm if step < 60 or attempt else overflow if step in (62, 65, 68) else trouble)(step, position)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected) == (69, 69 + patience - 1)


def test_gradients_that_overflow_at_any_scale_are_found_once_the_scale_is_at_its_least() -> None:
    """The lines of a run in float16 whose gradients are infinite for good, its loss finite: 2^5, 2^4, … 1, 1, 1."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        if step < 60 or attempt:
            return calm(step, position)
        scale = max(1.0, 2.0 ** (65 - step))
        return observe(Line(step, attempt, 3.0, math.inf, 9.0, 1.0, 0.01, 8, "", False, loss_scale=scale))

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (65, 68, 45, "NaN or Inf")


@pytest.mark.parametrize("trouble", [not_finite, overflow])
@given(where=st.sets(st.integers(1, 150), max_size=60))
def test_steps_without_an_update_enter_no_statistic(trouble: Trouble, where: set[int]) -> None:
    # No more than three NaNs in a row, or they would be a spike themselves.
    gaps = {step for step in where if trouble is overflow or not {step - 1, step - 2, step - 3} <= where}
    plain = History(SMALL, sequences_between)
    gapped = History(SMALL, sequences_between)
    step = 0
    for number in range(1, 200):
        while step + 1 in gaps:
            step += 1
            assert gapped.feed(trouble(step, 0)) is None
        step += 1
        # At the end losses rise by a little less than what is suspicious: the window decides which is the first.
        seen = calm(number, number)._replace(loss=3 + 0.01 * noise(number) + max(0, number - 170) * 0.03)
        one, other = plain.feed(seen), gapped.feed(seen._replace(step=step))
        assert (one is None) == (other is None), number
        if isinstance(one, Rollback) and isinstance(other, Rollback):
            assert (one.detected - one.onset, one.reason) == (other.detected - other.onset, other.reason)
            assert gapped.not_finite == (step - number if trouble is not_finite else 0)
            return
    pytest.fail("the rise was not found")


@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm_on_a_noisy_curve_through_a_batch_ramp(seed: int) -> None:
    random = np.random.default_rng(seed)

    def curve(attempt: int, step: int, position: int) -> Observation:
        noisiness = 1 if step < 700 else 0.5
        loss = 2 + 6 * (step + 5) ** -0.35 + 0.06 * noisiness * random.standard_normal()
        grad_norm = (0.5 + 20 / (step + 10)) * noisiness**0.5 * math.exp(0.25 * random.standard_normal())
        return Observation(step, loss, grad_norm, True)

    run = Run(curve, Spikes()).go(2000)
    assert (run.rollbacks, run.exhausted) == ([], None)


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_of_a_nat_is_found_in_that_noise(seed: int) -> None:
    random = np.random.default_rng(seed)

    def curve(attempt: int, step: int, position: int) -> Observation:
        loss = 2 + 6 * (step + 5) ** -0.35 + 0.06 * random.standard_normal() + (1000 <= step < 1100)
        return Observation(step, loss, 0.5 * math.exp(0.25 * random.standard_normal()), True)

    first = Run(curve, Spikes()).go(1100).rollbacks[0]
    assert (first.onset, first.detected, first.target) == (1000, 1002, 900)


def test_a_lasting_change_of_the_gradient_norm_does_not_blind_the_detector() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        falling = seen.loss - min(step, 1500) * 1e-3
        spike = 0.8 if 1500 <= step < 1600 else 0.0
        return seen._replace(loss=falling + spike, grad_norm=seen.grad_norm * (1 if step < 200 else 3))

    assert Run(curve).go(1600).rollbacks


@pytest.mark.parametrize(
    ("changes", "trouble"),
    [({"rewind": 2, "patience": 3}, loss_spike), ({"rewind": 7, "nonfinite_patience": 8}, not_finite)],
)
def test_a_patience_longer_than_the_rewind_is_refused_or_kept(changes: dict[str, int], trouble: Trouble) -> None:
    try:
        spikes = Spikes.model_validate(SMALL.model_dump() | changes)
    except (UserError, ValueError):
        return
    assert Run(trouble_at(range(60, 120), trouble), spikes).go(120).rollbacks


# Random runs: trouble that lies in the data, and trouble that comes back at its steps whatever the data.

LITTLE = Spikes(window=8, patience=2, nonfinite_patience=3, rewind=6, skip=14, attempts=3)
UNTIL = 160
troubles = st.sampled_from([loss_spike, gradient_spike, not_finite, overflow])
stretches = st.lists(st.tuples(troubles, st.integers(0, 3000), st.integers(1, 120)), max_size=8)
stubborn = st.lists(st.tuples(troubles, st.integers(20, UNTIL), st.integers(1, 6)), max_size=2)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
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


def test_random_runs_roll_back_fold_and_give_up() -> None:
    """That the properties below are put to the test."""
    rollbacks = folded = exhausted = several = 0
    random = np.random.default_rng(0)
    for _ in range(100):
        stretch = [range(first, first + length) for first, length in random.integers((3000, 120), size=(6, 2))]

        def curve(attempt: int, step: int, position: int, stretch: list[range] = stretch) -> Observation:
            return (loss_spike if any(position in range_ for range_ in stretch) else calm)(step, position)

        run = Run(curve, LITTLE).go(UNTIL)
        rollbacks += len(run.rollbacks)
        folded += sum(r.sequences > sequences_between(r.target, r.target + r.batches) for r in run.rollbacks)
        several += len(run.history.skips) > 1
        exhausted += run.exhausted is not None
    assert min(rollbacks, folded, several) > 10
    assert exhausted


@given(curve=curves(), kills=st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), max_size=4))
def test_a_run_killed_and_resumed_anywhere_is_the_run_that_was_not(
    curve: Curve, kills: list[tuple[int, float]]
) -> None:
    uncut = Run(curve, LITTLE).go(UNTIL)
    run = Run(curve, LITTLE)
    for lines, share in kills:
        run.go(UNTIL, lines)
        run = run.resumed(checkpoint=int(share * run.history.step))
    assert run.go(UNTIL).outcome == uncut.outcome
    assert uncut.resumed(checkpoint=uncut.history.step).outcome == uncut.outcome, "the same lines, the same decisions"


@given(curve=curves())
def test_data_of_an_abandoned_stretch_is_never_read_again_and_nothing_is_read_twice(curve: Curve) -> None:
    run = Run(curve, LITTLE).go(UNTIL)
    starts = [
        i for i, (one, next) in enumerate(zip(run.taken, run.taken[1:], strict=False), 1) if next.attempt != one.attempt
    ]
    for start in starts:
        abandoned_end = run.taken[start - 1].end
        assert all(taken.first >= abandoned_end for taken in run.taken[start:])
    for one, following in zip(run.taken, run.taken[1:], strict=False):
        if one.attempt == following.attempt:
            assert following.first >= one.end
        assert following.end - following.first == sequences_between(
            following.observation.step - 1, following.observation.step
        )


@given(curve=curves())
def test_a_rollback_goes_before_its_onset_and_no_further_than_foretold(curve: Curve) -> None:
    run = Run(curve, LITTLE).go(UNTIL)
    in_a_row = 0
    last: Rollback | None = None
    for number, rollback in enumerate(run.rollbacks, 1):
        in_a_row = in_a_row + 1 if last and rollback.onset <= last.detected + LITTLE.rewind else 1
        assert rollback.attempt == number
        assert rollback.target == max(0, rollback.onset - in_a_row * LITTLE.rewind)
        assert rollback.target < rollback.onset <= rollback.detected <= rollback.target + rollback.batches
        assert rollback.batches == LITTLE.skip + (in_a_row - 1) * LITTLE.rewind
        assert rollback.target >= rollback.detected - 1 - (in_a_row + 1) * LITTLE.rewind
        last = rollback


def test_spikes_in_a_row_go_back_no_further_than_their_reach() -> None:
    """At once after each rollback, with odd gradients before its target that lengthen the streak."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        first = run.rollbacks[-1].target + 1 if run.rollbacks else 1000
        odd = step % 20 >= 4  # not so many in a row that they become the measure
        return (loss_spike if first <= step < first + 3 else gradient_spike if odd and step > 400 else calm)(
            step, position
        )

    run = Run(curve, SMALL.model_copy(update={"attempts": 5, "window": 64}))
    run.go(1100)
    assert len(run.rollbacks) == 5
    assert min(rollback.target for rollback in run.rollbacks) >= run.rollbacks[0].detected - 1 - reach(run.spikes)


@given(curve=curves(), share=st.floats(0, 1))
def test_a_deeper_rollback_reads_on_at_the_same_place_and_is_known_by_its_next_line(curve: Curve, share: float) -> None:
    run = Run(curve, LITTLE)
    while run.history.step < UNTIL and not run.exhausted and not run.rollbacks:
        run.go(UNTIL, len(run.taken) + 1)
    if not run.rollbacks:
        return
    reader = run.resumed(checkpoint=run.history.step)

    def position(history: History, step: int) -> int:
        return sequences_before(step) + sum(n for after, n in history.skips if after < step)

    target = run.history.step
    expected = position(run.history, target + 1)
    deeper = int(share * target)
    run.history.deepen(deeper)
    assert position(run.history, deeper + 1) == expected
    run.go(UNTIL)
    for taken in run.taken[len(reader.taken) :]:
        assert reader.history.follows(taken.attempt, taken.observation.step)
        reader.taken.append(taken)
        reader._note(reader.history.feed(taken.observation))
    reader.rollbacks[0] = reader.history.rollbacks[0]
    run.rollbacks[0] = run.history.rollbacks[0]
    assert reader.outcome == run.outcome


def test_only_the_first_line_of_an_attempt_may_lie_further_back() -> None:
    run = Run(trouble_at(range(60, 63), loss_spike)).go(100, 62)
    assert (run.history.attempt, run.history.step) == (1, 40)
    assert run.history.follows(1, 41)
    assert run.history.follows(1, 1)
    assert not any(run.history.follows(*place) for place in ((1, 0), (1, 42), (0, 41), (2, 41)))
    run.go(41)
    assert run.history.follows(1, 42)
    assert not run.history.follows(1, 41)


@given(curve=curves())
def test_is_live_knows_the_states_that_the_present_one_came_from(curve: Curve) -> None:
    run = Run(curve, LITTLE).go(UNTIL)
    live: list[tuple[int, int]] = []
    for taken in run.taken:
        live = [*live[: taken.observation.step - 1], (taken.attempt, taken.observation.step)]
    live = live[: run.history.step]
    for taken in run.taken:
        place = (taken.attempt, taken.observation.step)
        assert run.history.is_live(*place) == (place in live), place
    assert run.history.is_live(0, 0)
    assert run.history.is_live(run.history.attempt, run.history.step)


@given(curve=curves())
@settings(max_examples=30)
def test_nans_are_counted_on_all_attempts_and_overflows_are_not(curve: Curve) -> None:
    run = Run(curve, LITTLE).go(UNTIL)
    assert run.history.not_finite == sum(math.isnan(taken.observation.loss) for taken in run.taken)
