"""The spike detector on simulated runs: what it finds and what it ignores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.recipe.training import Spikes
from palmetto.training.ledger import Line
from palmetto.training.spikes import Exhausted, History, Observation, Rollback
from palmetto.training.step.execution import observe
from tests.references.spike_runs import (
    LITTLE,
    SMALL,
    UNTIL,
    Curve,
    Run,
    Trouble,
    calm,
    curves,
    gradient_spike,
    loss_spike,
    noise,
    not_finite,
    overflow,
    sequences_between,
    trouble_at,
)


@pytest.mark.parametrize("onset", [15, 60, 99, 150])
def test_a_loss_spike_is_found_and_its_batches_are_skipped(onset: int) -> None:
    run = Run(trouble_at(range(onset, 10**6), loss_spike)).go(300)
    detected, target = onset + 2, max(0, onset - 20)
    sequences = sequences_between(target, target + 60)
    assert run.rollbacks == [Rollback(1, detected, onset, target, 60, sequences, "loss spike")]
    assert run.history.skips == ((target, sequences),)
    assert (run.history.attempt, run.history.step) == (1, 300)


def test_the_defaults_are_the_numbers_of_the_paper() -> None:
    spikes = Spikes()
    assert (spikes.rewind, spikes.skip) == (100, 300)
    run = Run(trouble_at(range(500, 600), loss_spike), spikes).go(700)
    (rollback,) = run.rollbacks
    assert (rollback.onset, rollback.target, rollback.batches) == (500, 400, 300)
    assert 500 <= rollback.detected < 510


@pytest.mark.parametrize("length", [1, 2])
def test_a_spike_shorter_than_the_patience_is_ignored(length: int) -> None:
    assert not Run(trouble_at(range(60, 60 + length), loss_spike)).go(200).rollbacks


def test_losses_that_recover_in_time_make_no_streak() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        return (loss_spike if step % 3 else calm)(step, position) if 60 <= step < 120 else calm(step, position)

    assert not Run(curve).go(200).rollbacks


@pytest.mark.parametrize("trouble", [gradient_spike, not_finite])
def test_the_onset_is_the_first_suspicious_step(trouble: Trouble) -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        return (calm if step < 60 or attempt else trouble if step < 63 else loss_spike)(step, position)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (60, 65, 40, "loss spike")


def test_gradients_alone_make_no_spike() -> None:
    assert not Run(trouble_at(range(60, 75), gradient_spike)).go(200).rollbacks


def test_no_step_is_judged_before_half_a_window() -> None:
    assert not Run(trouble_at(range(5, 8), loss_spike)).go(100).rollbacks
    assert Run(trouble_at(range(9, 12), loss_spike)).go(100).rollbacks


def test_a_few_outliers_do_not_hide_a_spike() -> None:
    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        return seen._replace(loss=1000.0, grad_norm=1000.0) if step in (1, 3, 5) else seen

    quiet = Run(curve).go(14)
    assert not quiet.rollbacks
    decisions = [quiet.history.feed(loss_spike(step, 0)) for step in (15, 16, 17)]
    assert isinstance(decisions[-1], Rollback)


def test_persistent_nans_cause_a_rollback() -> None:
    assert not Run(trouble_at(range(60, 63), not_finite)).go(100).rollbacks
    run = Run(trouble_at(range(60, 100), not_finite)).go(100)
    (rollback,) = run.rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (60, 63, 40, "NaN or Inf")
    assert run.history.not_finite == 4


def test_nans_from_the_first_step_end_the_run() -> None:
    run = Run(trouble_at(range(100), not_finite, range(100))).go(100)
    assert [(r.onset, r.target) for r in run.rollbacks] == [(1, 0)] * 3
    assert run.exhausted == Exhausted(4, 1, 3)


@pytest.mark.parametrize("length", [3, 4, 40])
def test_any_number_of_overflows_makes_no_spike(length: int) -> None:
    run = Run(trouble_at(range(60, 60 + length), overflow)).go(200)
    assert (run.rollbacks, run.exhausted) == ([], None)
    assert run.history.not_finite == 0


def test_overflows_right_before_a_spike_do_not_hide_it() -> None:
    """There are twelve among the sixteen steps before the spike, as many as the window has."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        seen = calm(step, position)
        if attempt or step < 48:
            return seen
        return overflow(step, position) if step < 60 else seen._replace(loss=seen.loss + 0.5)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected) == (60, 62)


@pytest.mark.parametrize(("trouble", "patience"), [(loss_spike, 3), (not_finite, 4)])
def test_an_overflow_ends_a_streak(trouble: Trouble, patience: int) -> None:
    """A spike that lasts is then found a few steps later; overflows are rare while the scale falls."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        return (calm if step < 60 or attempt else overflow if step in (62, 65, 68) else trouble)(step, position)

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected) == (69, 69 + patience - 1)


def test_overflows_at_the_least_scale_count_as_nans() -> None:
    """The gradients stay infinite, the loss finite, and the loss scale falls: 2^5, 2^4, … 1, 1, 1."""

    def curve(attempt: int, step: int, position: int) -> Observation:
        if step < 60 or attempt:
            return calm(step, position)
        scale = max(1.0, 2.0 ** (65 - step))
        return observe(Line(step, attempt, 3.0, math.inf, 9.0, 1.0, 0.01, 8, "", False, loss_scale=scale))

    (rollback,) = Run(curve).go(100).rollbacks
    assert (rollback.onset, rollback.detected, rollback.target, rollback.reason) == (65, 68, 45, "NaN or Inf")


@pytest.mark.parametrize("trouble", [not_finite, overflow])
@given(where=st.sets(st.integers(1, 150), max_size=60))
def test_skipped_updates_do_not_enter_the_statistics(trouble: Trouble, where: set[int]) -> None:
    # At most three NaNs follow each other, since four would be a spike.
    gaps = {step for step in where if trouble is overflow or not {step - 1, step - 2, step - 3} <= where}
    plain = History(SMALL, sequences_between)
    gapped = History(SMALL, sequences_between)
    step = 0
    for number in range(1, 200):
        while step + 1 in gaps:
            step += 1
            assert gapped.feed(trouble(step, 0)) is None
        step += 1
        # At the end losses rise slowly, so that the window decides which is the first suspicious one.
        seen = calm(number, number)._replace(loss=3 + 0.01 * noise(number) + max(0, number - 170) * 0.03)
        one, other = plain.feed(seen), gapped.feed(seen._replace(step=step))
        assert (one is None) == (other is None), number
        if isinstance(one, Rollback) and isinstance(other, Rollback):
            assert (one.detected - one.onset, one.reason) == (other.detected - other.onset, other.reason)
            assert gapped.not_finite == (step - number if trouble is not_finite else 0)
            return
    pytest.fail("the rise was not found")


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_curve_causes_no_false_alarm(seed: int) -> None:
    random = np.random.default_rng(seed)

    def curve(attempt: int, step: int, position: int) -> Observation:
        noisiness = 1 if step < 700 else 0.5
        loss = 2 + 6 * (step + 5) ** -0.35 + 0.06 * noisiness * random.standard_normal()
        grad_norm = (0.5 + 20 / (step + 10)) * noisiness**0.5 * math.exp(0.25 * random.standard_normal())
        return Observation(step, loss, grad_norm, True)

    run = Run(curve, Spikes()).go(2000)
    assert (run.rollbacks, run.exhausted) == ([], None)


@pytest.mark.parametrize("seed", range(3))
def test_a_spike_of_one_nat_is_found_in_noise(seed: int) -> None:
    random = np.random.default_rng(seed)

    def curve(attempt: int, step: int, position: int) -> Observation:
        loss = 2 + 6 * (step + 5) ** -0.35 + 0.06 * random.standard_normal() + (1000 <= step < 1100)
        return Observation(step, loss, 0.5 * math.exp(0.25 * random.standard_normal()), True)

    first = Run(curve, Spikes()).go(1100).rollbacks[0]
    assert (first.onset, first.detected, first.target) == (1000, 1002, 900)


def test_a_lasting_change_of_gradient_norm_hides_no_spike() -> None:
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
def test_a_patience_longer_than_the_rewind_is_refused_or_works(changes: dict[str, int], trouble: Trouble) -> None:
    try:
        spikes = Spikes.model_validate(SMALL.model_dump() | changes)
    except (UserError, ValueError):
        return
    assert Run(trouble_at(range(60, 120), trouble), spikes).go(120).rollbacks


@given(curve=curves())
@settings(max_examples=30)
def test_nans_of_all_attempts_are_counted_without_overflows(curve: Curve) -> None:
    run = Run(curve, LITTLE).go(UNTIL)
    assert run.history.not_finite == sum(math.isnan(taken.observation.loss) for taken in run.taken)
