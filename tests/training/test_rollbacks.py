"""Rollbacks of simulated runs: targets, skipped data, and the same decisions after kills and resumes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from palmetto.training.spikes import Exhausted, History, Observation, Rollback, reach
from tests.references.spike_runs import (
    LITTLE,
    SMALL,
    UNTIL,
    Curve,
    Run,
    calm,
    curves,
    gradient_spike,
    loss_spike,
    noise,
    sequences_before,
    sequences_between,
    trouble_at,
)


def test_a_returning_spike_rewinds_further_until_attempts_run_out() -> None:
    run = Run(trouble_at(range(150, 10**6), loss_spike, range(10**6))).go(400)
    assert [(r.attempt, r.detected, r.onset, r.target, r.batches) for r in run.rollbacks] == [
        (1, 152, 150, 130, 60),
        (2, 152, 150, 110, 80),
        (3, 152, 150, 90, 100),
    ]
    assert run.exhausted == Exhausted(detected=152, onset=150, rollbacks=3)
    # Each skip includes the one before it, which came after its target.
    first = sequences_between(130, 190)
    second = sequences_between(110, 190) + first
    third = sequences_between(90, 190) + second
    assert [r.sequences for r in run.rollbacks] == [first, second, third]
    assert run.history.skips == ((90, third),)


def test_without_attempts_the_first_spike_ends_the_run() -> None:
    run = Run(trouble_at(range(60, 80), loss_spike), SMALL.model_copy(update={"attempts": 0})).go(100)
    assert (run.rollbacks, run.exhausted) == ([], Exhausted(62, 60, 0))


def test_a_later_spike_adds_a_skip_of_its_own() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        new = {0: range(60, 70), 1: range(150, 160)}.get(attempt, range(0))
        return (loss_spike if step in new else calm)(step, position)

    run = Run(curve)
    assert [(r.onset, r.target, r.batches) for r in run.go(300).rollbacks] == [(60, 40, 60), (150, 130, 60)]
    assert run.history.skips == ((40, sequences_between(40, 100)), (130, sequences_between(130, 190)))


def test_after_a_rollback_the_window_holds_the_live_path() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        if attempt == 0 and step > 40:  # the rollback to step 40 discards these
            return seen._replace(loss=6.0 if step >= 60 else seen.loss + 0.2 * noise(step))
        return seen._replace(loss=seen.loss + 0.6) if attempt == 1 and step >= 45 else seen

    run = Run(curve).go(100)
    assert [(r.onset, r.detected) for r in run.rollbacks] == [(60, 62), (45, 47)]


def test_random_runs_roll_back_merge_skips_and_give_up() -> None:
    """This shows that the properties below are tested by interesting runs."""
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
def test_kills_and_resumes_change_no_decision(curve: Curve, kills: list[tuple[int, float]]) -> None:
    uncut = Run(curve, LITTLE).go(UNTIL)
    run = Run(curve, LITTLE)
    for lines, share in kills:
        run.go(UNTIL, lines)
        run = run.resumed(checkpoint=int(share * run.history.step))
    assert run.go(UNTIL).outcome == uncut.outcome
    assert uncut.resumed(checkpoint=uncut.history.step).outcome == uncut.outcome, "the same lines, the same decisions"


@given(curve=curves())
def test_no_data_is_read_twice(curve: Curve) -> None:
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
def test_a_rollback_targets_the_computed_step_before_its_onset(curve: Curve) -> None:
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


def test_consecutive_rollbacks_stay_within_their_reach() -> None:
    """Each spike follows a rollback at once, and suspicious gradients before its target lengthen the streak."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        first = run.rollbacks[-1].target + 1 if run.rollbacks else 1000
        odd = step % 20 >= 4  # too few in a row to become the norm
        return (loss_spike if first <= step < first + 3 else gradient_spike if odd and step > 400 else calm)(
            step, position
        )

    run = Run(curve, SMALL.model_copy(update={"attempts": 5, "window": 64}))
    run.go(1100)
    assert len(run.rollbacks) == 5
    assert min(rollback.target for rollback in run.rollbacks) >= run.rollbacks[0].detected - 1 - reach(run.spikes)


@given(curve=curves(), share=st.floats(0, 1))
def test_a_deeper_rollback_keeps_its_position_in_the_data(curve: Curve, share: float) -> None:
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


def test_only_the_first_line_may_deepen_a_rollback() -> None:
    run = Run(trouble_at(range(60, 63), loss_spike)).go(100, 62)
    assert (run.history.attempt, run.history.step) == (1, 40)
    assert run.history.follows(1, 41)
    assert run.history.follows(1, 1)
    assert not any(run.history.follows(*place) for place in ((1, 0), (1, 42), (0, 41), (2, 41)))
    run.go(41)
    assert run.history.follows(1, 42)
    assert not run.history.follows(1, 41)


@given(curve=curves())
def test_live_states_are_those_before_the_present_one(curve: Curve) -> None:
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
