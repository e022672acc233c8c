"""Adafactor and AdamW step by step against NumPy in float64 and against optax."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from palmetto.recipe import Adafactor, AdamW
from palmetto.training import optimizer as optimizers
from palmetto.training.optimizer import OptimizerState
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


def gradients() -> Iterator[Arrays]:
    """Random gradients that grow and shrink a hundredfold, each layer's of a scale of its own, some of them zero."""
    random = np.random.default_rng(1)
    for step in range(STEPS):
        yield {
            name: (
                10 ** np.sin(step / 3) * 10.0 ** -np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
                * random.normal(size=shape) * (random.random(shape) < 0.9)
            ).astype(np.float32)
            for name, shape in SHAPES.items()
        }  # fmt: skip


def learning_rate(step: int) -> np.float32:
    return np.float32(1e-2 / np.sqrt(max(step, 10) / 10))


class Trajectory(NamedTuple):
    parameters: list[Arrays]
    states: list[OptimizerState]


def run(settings: Adafactor | AdamW, rate: Callable[[int], np.float32] = learning_rate) -> Trajectory:
    """Palmetto's parameters and states after each step."""
    transformation = optimizers.make(settings, STACKED)

    @jax.jit
    def step(
        parameters: Arrays, state: OptimizerState, gradients: Arrays, rate: np.float32
    ) -> tuple[Arrays, OptimizerState]:
        updates, state = transformation.update(gradients, state, parameters, learning_rate=rate)
        return optax.apply_updates(parameters, updates), state

    parameters = initial_parameters()
    state = transformation.init({name: jnp.asarray(array) for name, array in parameters.items()})
    trajectory = Trajectory([], [])
    for number, g in enumerate(gradients(), 1):
        parameters, state = step(parameters, state, g, rate(number))
        trajectory.parameters.append(jax.device_get(parameters))
        trajectory.states.append(jax.device_get(state))
    return trajectory


Rule = Callable[..., tuple[reference.Array, reference.Moments]]


def check_against_numpy(trajectory: Trajectory, rule: Rule, options: Callable[[str], dict[str, float | None]]) -> None:
    """Follows every logical matrix in float64 and compares after each step."""
    for name in SHAPES:
        for index in logical(name):
            theta = initial_parameters()[name][index].astype(np.float64)
            moments = reference.Moments(np.zeros_like(theta), np.zeros_like(theta))
            for k, g in enumerate(gradients(), 1):
                rate = float(learning_rate(k))
                theta, moments = rule(theta, g[name][index].astype(np.float64), moments, k, rate, **options(name))
                ours, state = trajectory.parameters[k - 1][name][index], trajectory.states[k - 1]
                where = f"{name}[{index}] at step {k}"
                assert state.k == k
                assert np.abs(ours - theta).max() < 3e-6 * np.abs(theta).max(), where
                assert np.abs(state.m[name][index] - moments.m).max() < 1e-5 * np.abs(moments.m).max(), where
                assert np.allclose(state.v[name][index], moments.v, rtol=1e-5, atol=0), where


@pytest.mark.parametrize("update_clip", [None, 1.0, 0.3])
def test_adafactor_takes_the_steps_of_numpy(update_clip: float | None) -> None:
    trajectory = run(Adafactor(update_clip=update_clip))
    check_against_numpy(trajectory, reference.adafactor, lambda name: {"update_clip": update_clip})


def test_update_clip_acts_in_these_runs() -> None:
    clipped, free = (run(Adafactor(update_clip=clip)).parameters[-1] for clip in (0.3, None))
    assert all(np.any(clipped[name] != free[name]) for name in SHAPES)


def test_adamw_takes_the_steps_of_numpy() -> None:
    trajectory = run(AdamW(weight_decay=0.5))
    decays = {"embedding": 0.5, "q": 0.5, "norm": 0.0, "final_norm": 0.0}
    check_against_numpy(trajectory, reference.adamw, lambda name: {"weight_decay": decays[name]})


def apart(arrays: Arrays) -> Arrays:
    """Every logical matrix by itself, as optax takes its RMS."""
    return {f"{name} {index}": array[index] for name, array in arrays.items() for index in logical(name)}


def optax_parameters(transformation: optax.GradientTransformation) -> list[Arrays]:
    """optax's parameters after each step, from unstacked parameters."""

    @jax.jit
    def step(parameters: Arrays, state: optax.OptState, gradients: Arrays) -> tuple[Arrays, optax.OptState]:
        updates, state = transformation.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    parameters = apart(initial_parameters())
    state, trajectory = transformation.init(parameters), []
    for g in gradients():
        parameters, state = step(parameters, state, apart(g))
        trajectory.append(jax.device_get(parameters))
    return trajectory


def assert_same(ours: list[Arrays], theirs: list[Arrays]) -> None:
    for step, (one, other) in enumerate(zip(map(apart, ours), theirs, strict=True), 1):
        for name, array in other.items():
            assert np.abs(one[name] - array).max() < 3e-6 * np.abs(array).max(), (name, step)


@pytest.mark.parametrize("update_clip", [None, 1.0])
def test_adafactor_is_optaxs_unfactored_one_on_unstacked_matrices_at_a_constant_rate(update_clip: float | None) -> None:
    """All of it is comparable but the decay lr², which optax takes as a constant only."""
    rate = np.float32(0.02)
    theirs = optax.adafactor(
        float(rate), factored=False, clipping_threshold=update_clip, momentum=0.9, weight_decay_rate=float(rate) ** 2
    )
    ours = run(Adafactor(update_clip=update_clip), lambda step: rate)
    assert_same(ours.parameters, optax_parameters(theirs))


def test_adamw_is_optaxs_with_a_mask_of_the_matrices() -> None:
    settings = AdamW(b1=0.8, b2=0.9, epsilon=1e-6, weight_decay=0.3)
    schedule = jnp.asarray([learning_rate(step) for step in range(1, STEPS + 1)])
    theirs = optax.adamw(
        lambda count: schedule[count], 0.8, 0.9, 1e-6, weight_decay=0.3,
        mask=lambda parameters: {name: array.ndim == 2 for name, array in parameters.items()},
    )  # fmt: skip
    assert_same(run(settings).parameters, optax_parameters(theirs))


def test_adafactor_decays_by_the_squared_rate_where_the_gradient_is_zero() -> None:
    transformation = optimizers.make(Adafactor(), frozenset())
    parameters = {"embedding": jnp.full((4, 4), 3.0)}
    updates, state = transformation.update(
        {"embedding": jnp.zeros((4, 4))}, transformation.init(parameters), parameters, learning_rate=jnp.float32(0.1)
    )
    assert np.allclose(updates["embedding"], -(0.1**2) * 3.0, rtol=1e-6)
    assert np.all(state.m["embedding"] == 0)


@pytest.mark.parametrize("settings", [Adafactor(), AdamW()], ids=lambda settings: settings.name)
def test_state_starts_at_zero_shaped_like_the_parameters_in_float32(settings: Adafactor | AdamW) -> None:
    parameters = {name: jnp.asarray(array) for name, array in initial_parameters().items()}
    state = optimizers.make(settings, STACKED).init(parameters)
    assert state.k == 0
    for moments in (state.m, state.v):
        assert {name: array.shape for name, array in moments.items()} == SHAPES
        assert all(array.dtype == jnp.float32 and not np.any(array) for array in moments.values())
