"""Slow divergence is found if the mean loss rises for long, and only then."""

import numpy as np
import pytest

from palmetto.recipe.training import Spikes
from palmetto.training.divergence import Rise, rises
from palmetto.training.spikes import History, Observation

NOISE = np.random.default_rng(0).normal(size=8000)


def falling(steps: int, noise: float = 0.05) -> np.ndarray:
    """Returns a usual loss, which falls from 6 towards 3, ever more slowly."""
    return 3 + 3 / np.sqrt(1 + np.arange(steps) / 50) + noise * NOISE[:steps]


def test_a_slow_rise_is_noticed_early() -> None:
    losses = np.concatenate([falling(1000), falling(1000)[-1] + np.arange(1000) * 0.003 + 0.05 * NOISE[1000:2000]])
    history = History(Spikes(), lambda a, b: b - a)
    assert all(history.feed(Observation(step, loss, 1.0, True)) is None for step, loss in enumerate(losses, 1))
    rise, *more = rises(losses, 128)
    assert not more
    assert rise.since in range(897, 1153)
    assert rise.noticed < 1600
    assert rise.until is None
    assert rise.loss - rise.lowest > 2
    assert f"from {rise.lowest:.3f} at step {rise.since}" in str(rise)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_a_falling_or_constant_loss_is_not_reported(noise: float) -> None:
    assert rises(falling(8000, noise), 128) == []
    assert rises(3 + noise * NOISE, 64) == []


def test_rises_are_a_function_of_the_steps_so_far() -> None:
    losses = np.concatenate([falling(640), np.linspace(3.9, 5, 640)])
    whole = rises(losses, 64)
    assert [rise.noticed for rise in whole] == [next(n for n in range(1280) if rises(losses[:n], 64))]


def test_a_rise_ends_where_the_loss_is_low_again() -> None:
    losses = np.concatenate([np.full(20, 3.0), np.full(50, 4.0), np.full(30, 2.5), np.full(40, 5.0)])
    assert rises(losses, 10) == [Rise(10, 50, 80, 3.0, 4.0), Rise(80, 130, None, 2.5, 5.0)]


def test_steps_without_a_finite_loss_are_ignored() -> None:
    losses = np.concatenate([np.full(20, 3.0), np.full(50, np.nan), np.full(40, 3.0)])
    assert rises(losses, 10) == []
    losses[[3, 85]] = np.inf
    assert rises(losses, 10) == []
    assert rises(losses, 200) == []
    risen = np.concatenate([np.full(20, 3.0), np.full(20, 4.0), np.full(10, np.nan), np.full(20, 4.0)])
    assert rises(risen, 10) == [Rise(10, 60, None, 3.0, 4.0)]
