"""Adafactor and AdamW step by step against NumPy in float64 and against optax."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from palmetto.recipe import Adafactor, AdamW
from palmetto.training import optimizer as optimizers
from tests import reference

Arrays = dict[str, np.ndarray]

STEPS = 40
SHAPES = {"embedding": (10, 6), "final_norm": (6,), "norm": (3, 6), "q": (3, 6, 8)}
STACKED = frozenset({"norm", "q"})
# One layer under Adafactor's floor of 1e-3: an RMS taken over the stack would move the small ones too far.
SCALES = np.array([1e-4, 0.3, 20.0])


def logical(name: str) -> tuple[slice | int, ...]:
    """The indices of an array's logical matrices."""
    return tuple(range(len(SCALES))) if name in STACKED else (slice(None),)


def initial_parameters() -> Arrays:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    for name in STACKED:
        arrays[name] *= SCALES.reshape(-1, *[1] * (arrays[name].ndim - 1))
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def some_gradients() -> Arrays:
    """Random gradients [STEPS, …] that grow and shrink a hundredfold, each layer's of its own scale, some of them 0."""
    random = np.random.default_rng(1)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        growth = 10 ** np.sin(np.arange(STEPS) / 3).reshape(-1, *[1] * len(shape))
        scales = 10.0 ** -np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        present = random.random((STEPS, *shape)) < 0.9
        return (growth * scales * present * random.normal(size=(STEPS, *shape))).astype(np.float32)

    return {name: draw(shape) for name, shape in SHAPES.items()}


PARAMETERS, GRADIENTS = initial_parameters(), some_gradients()
RATES = np.array([1e-2 / np.sqrt(max(step, 10) / 10) for step in range(1, STEPS + 1)], np.float32)


class Trajectory(NamedTuple):
    """Parameters and state after each step, [STEPS, …]."""

    parameters: Arrays
    state: Any


def follow(
    transformation: optax.GradientTransformation, parameters: Arrays, gradients: Arrays, **each: Any
) -> Trajectory:
    """Takes all steps; `each` are further arguments of update, [STEPS]."""

    @jax.jit
    def run(parameters: Arrays) -> Trajectory:
        def step(carry: Trajectory, inputs: tuple[Arrays, dict[str, jax.Array]]) -> tuple[Trajectory, Trajectory]:
            updates, state = transformation.update(inputs[0], carry.state, carry.parameters, **inputs[1])
            carry = Trajectory(optax.apply_updates(carry.parameters, updates), state)
            return carry, carry

        start = Trajectory(parameters, transformation.init(parameters))
        steps: Trajectory = jax.lax.scan(step, start, (gradients, each))[1]
        return steps

    return jax.device_get(run(parameters))


@functools.cache
def ours(settings: Adafactor | AdamW, constant_rate: float | None = None) -> Trajectory:
    rates = RATES if constant_rate is None else np.full_like(RATES, constant_rate)
    return follow(optimizers.make(settings, STACKED), PARAMETERS, GRADIENTS, learning_rate=rates)


Rule = Callable[..., tuple[reference.Array, reference.Moments]]


def check_against_numpy(trajectory: Trajectory, rule: Rule, options: Callable[[str], dict[str, float | None]]) -> None:
    """Follows every logical matrix in float64 and compares after each step."""
    assert np.array_equal(trajectory.state.k, np.arange(1, STEPS + 1))
    for name in SHAPES:
        for index in logical(name):
            theta = PARAMETERS[name][index].astype(np.float64)
            moments = reference.Moments(np.zeros_like(theta), np.zeros_like(theta))
            for i, rate in enumerate(RATES):
                g = GRADIENTS[name][i][index].astype(np.float64)
                theta, moments = rule(theta, g, moments, i + 1, float(rate), **options(name))
                moved, m, v = (
                    t[name][i][index] for t in (trajectory.parameters, trajectory.state.m, trajectory.state.v)
                )
                where = f"{name}[{index}] at step {i + 1}"
                assert np.abs(moved - theta).max() < 3e-6 * np.abs(theta).max(), where
                assert np.abs(m - moments.m).max() < 1e-5 * np.abs(moments.m).max(), where
                assert np.allclose(v, moments.v, rtol=1e-5, atol=0), where


@pytest.mark.parametrize("update_clip", [None, 1.0, 0.3])
def test_adafactor_takes_the_steps_of_numpy(update_clip: float | None) -> None:
    trajectory = ours(Adafactor(update_clip=update_clip))
    check_against_numpy(trajectory, reference.adafactor, lambda name: {"update_clip": update_clip})


def test_update_clip_acts_in_these_runs() -> None:
    clipped, free = (ours(Adafactor(update_clip=clip)).parameters for clip in (0.3, None))
    assert all(np.any(clipped[name] != free[name]) for name in SHAPES)


def test_adamw_takes_the_steps_of_numpy() -> None:
    decays = {"embedding": 0.5, "q": 0.5, "norm": 0.0, "final_norm": 0.0}
    check_against_numpy(ours(AdamW(weight_decay=0.5)), reference.adamw, lambda name: {"weight_decay": decays[name]})


def apart(arrays: Arrays, of_steps: bool) -> Arrays:
    """Every logical matrix by itself, as optax takes its RMS; `of_steps`: the arrays are [STEPS, …]."""
    return {
        f"{name} {index}": array[(slice(None), index)] if of_steps else array[index]
        for name, array in arrays.items()
        for index in logical(name)
    }


def check_against_optax(trajectory: Trajectory, transformation: optax.GradientTransformation) -> None:
    theirs = follow(transformation, apart(PARAMETERS, of_steps=False), apart(GRADIENTS, of_steps=True)).parameters
    for name, array in apart(trajectory.parameters, of_steps=True).items():
        for step in range(STEPS):
            error = np.abs(array[step] - theirs[name][step]).max()
            assert error < 3e-6 * np.abs(theirs[name][step]).max(), (name, step)


@pytest.mark.parametrize("update_clip", [None, 1.0])
def test_adafactor_is_optaxs_unfactored_one_on_unstacked_matrices_at_a_constant_rate(update_clip: float | None) -> None:
    """All of it is comparable but a decay lr² whose lr changes: optax's decay is a constant."""
    rate = 0.02
    theirs = optax.adafactor(
        rate, factored=False, clipping_threshold=update_clip, momentum=0.9, weight_decay_rate=rate**2
    )
    check_against_optax(ours(Adafactor(update_clip=update_clip), rate), theirs)


def test_adamw_is_optaxs_with_a_mask_of_the_matrices() -> None:
    theirs = optax.adamw(
        lambda count: jnp.asarray(RATES)[count], 0.8, 0.9, 1e-6, weight_decay=0.3,
        mask=lambda parameters: {name: array.ndim == 2 for name, array in parameters.items()},
    )  # fmt: skip
    check_against_optax(ours(AdamW(b1=0.8, b2=0.9, epsilon=1e-6, weight_decay=0.3)), theirs)


def test_adafactor_decays_by_the_squared_rate_where_the_gradient_is_zero() -> None:
    transformation = optimizers.make(Adafactor(), frozenset())
    parameters = {"embedding": jnp.full((4, 4), 3.0)}
    updates, state = jax.jit(transformation.update)(
        {"embedding": jnp.zeros((4, 4))}, transformation.init(parameters), parameters, learning_rate=jnp.float32(0.1)
    )
    assert np.allclose(updates["embedding"], -(0.1**2) * 3.0, rtol=1e-6)
    assert np.all(state.m["embedding"] == 0)


@pytest.mark.parametrize("settings", [Adafactor(), AdamW()], ids=lambda settings: settings.name)
def test_state_starts_at_zero_shaped_like_the_parameters_in_float32(settings: Adafactor | AdamW) -> None:
    parameters = {name: jnp.asarray(array) for name, array in PARAMETERS.items()}
    state = optimizers.make(settings, STACKED).init(parameters)
    assert state.k == 0
    for moments in (state.m, state.v):
        assert {name: array.shape for name, array in moments.items()} == SHAPES
        assert all(array.dtype == jnp.float32 and not np.any(array) for array in moments.values())
