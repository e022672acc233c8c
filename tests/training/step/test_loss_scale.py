"""Dynamic loss scaling is compared with the same rule in plain Python."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palmetto.recipe.training import LossScale
from palmetto.training.step import loss_scale
from palmetto.training.step.loss_scale import LossScaleState

INTERVALS = (1, 2, 3, 7)


def compile_run(growth_interval: int) -> Any:
    """Returns a function from (state, flags [steps]) to the states after each step."""
    settings = LossScale(growth_interval=growth_interval)

    def step(state: LossScaleState, finite: jax.Array) -> tuple[LossScaleState, LossScaleState]:
        state = loss_scale.update(settings, state, finite)
        return state, state

    return jax.jit(lambda state, flags: jax.lax.scan(step, state, flags)[1])


RUN = {interval: compile_run(interval) for interval in INTERVALS}


@given(
    exponent=st.integers(0, 30),
    interval=st.sampled_from(INTERVALS),
    flags=st.lists(st.sampled_from([True, True, True, False]), min_size=64, max_size=64),
)
@example(exponent=30, interval=1, flags=[True] * 64)
@example(exponent=0, interval=1, flags=[False] * 64)
@example(exponent=28, interval=7, flags=[True] * 64)
def test_loss_scales_follow_the_rule_in_plain_python(exponent: int, interval: int, flags: list[bool]) -> None:
    states = RUN[interval](loss_scale.initial(LossScale(initial=2**exponent)), jnp.array(flags))
    streak = 0
    for i, finite in enumerate(flags):
        streak = streak + 1 if finite else 0
        if not finite:
            exponent = max(exponent - 1, 0)
        elif streak == interval:
            exponent, streak = min(exponent + 1, 30), 0
        assert float(states.scale[i]) == 2**exponent, f"after step {i + 1}"
        assert int(states.good_steps[i]) == streak, f"after step {i + 1}"


def test_the_state_starts_from_the_recipe_and_keeps_types() -> None:
    state = loss_scale.initial(LossScale(initial=256))
    assert (float(state.scale), int(state.good_steps)) == (256, 0)
    for finite in (True, False):
        state = jax.jit(lambda s, f: loss_scale.update(LossScale(), s, f))(state, jnp.array(finite))
        assert [(a.shape, a.dtype) for a in state] == [((), jnp.float32), ((), jnp.int32)]


@pytest.mark.parametrize("exponent", [0, 15, 30])
def test_scaling_and_unscaling_preserve_every_float32_bit(exponent: int) -> None:
    numbers = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    scale = loss_scale.initial(LossScale(initial=2**exponent)).scale
    assert np.array_equal(jnp.asarray(numbers) * scale / scale, numbers)
