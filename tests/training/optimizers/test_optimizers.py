"""Adafactor and AdamW are compared step by step with NumPy in float64 and with optax."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from palmetto.model.weights import Weight
from palmetto.parallel.sharding import Spread
from palmetto.training import optimization
from palmetto.training.optimization import OptimizerState
from palmetto.training.optimizers.adafactor import Adafactor
from palmetto.training.optimizers.adamw import AdamW
from tests.conftest import slow_but
from tests.references import decoder as reference
from tests.references.quickly import QUICKLY

Arrays = dict[str, np.ndarray]

STEPS = 30
SHAPES = {
    "embedding": (10, 6),
    "expert_up": (2, 2, 6, 5),
    "final_norm": (6,),
    "norm": (3, 6),
    "q": (3, 6, 8),
    "u": (2, 2, 4),
}
STACKS = {"embedding": 0, "expert_up": 2, "final_norm": 0, "norm": 1, "q": 1, "u": 1}
SPREADS = {name: Spread(stack) for name, stack in STACKS.items()}


def specify(shape: tuple[int, ...], stack: int) -> Weight:
    axes = ("layers", "experts")[:stack] + ("width", "heads", "head")[: len(shape) - stack]
    return Weight(shape, axes, 1.0, tuple(range(shape[0])) if stack else ())


TABLE = {name: specify(shape, STACKS[name]) for name, shape in SHAPES.items()}
VECTORS = {"final_norm", "norm"}
# One layer is below Adafactor's floor of 1e-3: an RMS over the stack would change small layers too much.
SCALES = np.array([1e-4, 0.3, 20.0])


def logical(name: str) -> list[tuple[int, ...]]:
    """Returns the indices of the logical matrices of an array."""
    return list(np.ndindex(SHAPES[name][: STACKS[name]]))


def each_step(array: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    """Returns one logical matrix of an array [STEPS, …] after each step."""
    key: tuple[Any, ...] = (slice(None), *index)
    return array[key]


def initial_parameters() -> Arrays:
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape) for name, shape in SHAPES.items()}
    for name, array in arrays.items():
        for index in logical(name):
            array[index] *= np.prod([SCALES[index[0]], *(1 + np.array(index[1:]))]) if index else 1
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def some_gradients() -> Arrays:
    """Returns random gradients [STEPS, …] that vary a hundredfold over steps, some of them 0.

    Layers, experts, rows and columns have different scales.
    """
    random = np.random.default_rng(1)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        drawn = random.normal(size=(STEPS, *shape)) * (random.random((STEPS, *shape)) < 0.9)
        drawn *= 10 ** np.sin(np.arange(STEPS) / 3).reshape(-1, *[1] * len(shape))
        for axis, size in enumerate(shape):
            drawn *= 10.0 ** -(random.permutation(size) % 4).reshape(-1, *[1] * (len(shape) - axis - 1))
        return drawn.astype(np.float32)

    return {name: draw(shape) for name, shape in SHAPES.items()}


PARAMETERS, GRADIENTS = initial_parameters(), some_gradients()
RATES = np.array([1e-2 / np.sqrt(max(step, 10) / 10) for step in range(1, STEPS + 1)], np.float32)


class Trajectory(NamedTuple):
    """Holds parameters and state after each step, with shapes [STEPS, …]."""

    parameters: Arrays
    state: Any


def follow(
    transformation: optax.GradientTransformation, parameters: Arrays, gradients: Arrays, **each: Any
) -> Trajectory:
    """Returns the result of all steps; `each` are further arguments of update, with shape [STEPS]."""

    @functools.partial(jax.jit, compiler_options=QUICKLY)
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
    return follow(optimization.make(settings, TABLE, SPREADS), PARAMETERS, GRADIENTS, learning_rate=rates)


def adafactor_in_numpy(
    settings: Adafactor, theta: np.ndarray, gradients: np.ndarray
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the state after each step of algorithms 4 (matrices) and 5 (vectors) of arXiv 1804.04235 in float64.

    Momentum and decay are those of PaLM; rows and columns are sums, as in the paper.
    """
    state: dict[str, np.ndarray] = {"theta": theta.astype(np.float64)}
    for k, (lr, g) in enumerate(zip(RATES.astype(np.float64), gradients.astype(np.float64), strict=True), 1):
        beta2 = 1 - k**-settings.decay_exponent
        if settings.decay is not None:
            beta2 = min(beta2, settings.decay)

        def average(key: str, new: np.ndarray, beta: float = beta2) -> np.ndarray:
            state[key] = beta * state.get(key, np.zeros_like(new)) + (1 - beta) * new
            return state[key]

        square, theta = g**2 + 1e-30, state["theta"]
        if settings.factored and g.ndim == 2:
            row, column = (
                average("rows", square @ np.ones(g.shape[1])),
                average("columns", np.ones(g.shape[0]) @ square),
            )
            second = np.outer(row, column) / row.sum()
        else:
            second = average("v", square)
        u = g / np.sqrt(second)
        if settings.update_clip is not None:
            u = u / max(1.0, reference.rms(u) / settings.update_clip)
        step = lr * u * (max(1e-3, reference.rms(theta)) if settings.parameter_scale else 1.0)
        if settings.momentum > 0:
            step = average("m", step, settings.momentum)
        state["theta"] = theta - step - (lr**2 * theta if settings.weight_decay else 0.0)
        yield dict(state)


GLAM = Adafactor(momentum=0.0, decay=0.9, factored=True, weight_decay=False, update_clip=1.0)
"""The settings of GLaM with a lower limit of β2, which is reached after 18 steps instead of 316."""
ADAFACTORS = {
    "palm": Adafactor(),
    "clipped": Adafactor(update_clip=1.0),
    "clipped hard": Adafactor(update_clip=0.3),
    "limited decay": Adafactor(decay=0.9, decay_exponent=0.7),
    "no scale": Adafactor(parameter_scale=False),
    "no momentum": Adafactor(momentum=0.0),
    "no weight decay": Adafactor(weight_decay=False),
    "factored": Adafactor(factored=True),
    "glam": GLAM,
}


@pytest.mark.parametrize("name", slow_but(["clipped", "factored", "glam"], ADAFACTORS))
def test_adafactor_takes_the_steps_of_the_numpy_version(name: str) -> None:
    """All logical matrices and moments match after each step."""
    settings = ADAFACTORS[name]
    trajectory = ours(settings)
    assert np.array_equal(trajectory.state.k, np.arange(1, STEPS + 1))
    for matrix, shape in SHAPES.items():
        sums = {"rows": shape[-1], "columns": shape[-2] if len(shape) > 1 else 1}
        for index in logical(matrix):
            steps = adafactor_in_numpy(settings, PARAMETERS[matrix][index], each_step(GRADIENTS[matrix], index))
            for i, expected in enumerate(steps):
                where = f"{matrix}{list(index)} at step {i + 1}"
                moved = trajectory.parameters[matrix][(i, *index)]
                assert np.abs(moved - expected.pop("theta")).max() < 3e-6 * np.abs(moved).max(), where
                for moment in ("m", "v", "rows", "columns"):
                    held = trajectory.state.moments.get(moment, {})
                    assert (matrix in held) == (moment in expected), (where, moment)
                    if moment in expected:
                        value = expected[moment] / sums.get(moment, 1)
                        error = np.abs(held[matrix][(i, *index)] - value)
                        # m is a sum with both signs.
                        assert np.all(error < 1e-5 * (np.abs(value).max() if moment == "m" else value)), (where, moment)


@pytest.mark.parametrize("name", sorted(ADAFACTORS.keys() - {"palm"}))
def test_every_setting_changes_the_result(name: str) -> None:
    chosen, usual = ours(ADAFACTORS[name]).parameters, ours(Adafactor()).parameters
    alike = VECTORS if name == "factored" else set()
    assert {key for key in SHAPES if np.array_equal(chosen[key], usual[key])} == alike


def test_adamw_takes_the_steps_of_the_numpy_version() -> None:
    trajectory = ours(AdamW(weight_decay=0.5))
    moments_of = trajectory.state.moments
    assert np.array_equal(trajectory.state.k, np.arange(1, STEPS + 1))
    assert trajectory.state.moments.keys() == {"m", "v"}
    for name in SHAPES:
        for index in logical(name):
            theta = PARAMETERS[name][index].astype(np.float64)
            moments = reference.Moments(np.zeros_like(theta), np.zeros_like(theta))
            for i, rate in enumerate(RATES):
                g = GRADIENTS[name][(i, *index)].astype(np.float64)
                decay = 0.0 if name in VECTORS else 0.5
                theta, moments = reference.adamw(theta, g, moments, i + 1, float(rate), decay)
                where = f"{name}{list(index)} at step {i + 1}"
                moved, m, v = (t[name][(i, *index)] for t in (trajectory.parameters, moments_of["m"], moments_of["v"]))
                assert np.abs(moved - theta).max() < 3e-6 * np.abs(theta).max(), where
                assert np.abs(m - moments.m).max() < 1e-5 * np.abs(moments.m).max(), where
                assert np.allclose(v, moments.v, rtol=1e-5, atol=0), where


def apart(arrays: Arrays, of_steps: bool) -> Arrays:
    """Returns the logical matrices one by one, as optax needs them; with `of_steps`, arrays are [STEPS, …]."""
    return {
        f"{name} {list(index)}": each_step(array, index) if of_steps else array[index]
        for name, array in arrays.items()
        for index in logical(name)
    }


def check_against_optax(trajectory: Trajectory, transformation: optax.GradientTransformation) -> None:
    theirs = follow(transformation, apart(PARAMETERS, of_steps=False), apart(GRADIENTS, of_steps=True)).parameters
    for name, array in apart(trajectory.parameters, of_steps=True).items():
        errors = np.abs(array - theirs[name]).reshape(STEPS, -1).max(axis=1)
        assert np.all(errors < 3e-6 * np.abs(theirs[name]).reshape(STEPS, -1).max(axis=1)), name


@pytest.mark.parametrize(("update_clip", "factored"), [(None, False), (1.0, False), (None, True)])
def test_adafactor_matches_optax_at_a_constant_rate(update_clip: float | None, factored: bool) -> None:
    """The rate is constant because optax has a constant weight decay instead of lr².

    By default optax does not factor matrices narrower than 128, and of more than two axes it factors the two longest.
    """
    rate = 0.02
    theirs = optax.adafactor(
        rate,
        factored=factored,
        min_dim_size_to_factor=1,
        clipping_threshold=update_clip,
        momentum=0.9,
        weight_decay_rate=rate**2,
    )
    check_against_optax(ours(Adafactor(update_clip=update_clip, factored=factored), rate), theirs)


def test_adafactor_of_glam_matches_parts_of_optax() -> None:
    """optax.adafactor itself cannot limit β2, but its first transformation can."""
    theirs = optax.chain(
        optax.scale_by_factored_rms(
            factored=True,
            min_dim_size_to_factor=1,
            decay_rate=0.8,
            decay_rate_fn=lambda count, exponent: jnp.minimum(0.9, 1 - (count + 1.0) ** -exponent),
        ),
        optax.clip_by_block_rms(1.0),
        optax.scale_by_param_block_rms(1e-3),
        optax.scale_by_learning_rate(lambda count: jnp.asarray(RATES)[count]),
    )
    check_against_optax(ours(GLAM), theirs)


def test_adamw_matches_optax_with_decay_of_matrices() -> None:
    theirs = optax.adamw(
        lambda count: jnp.asarray(RATES)[count],
        0.8,
        0.9,
        1e-6,
        weight_decay=0.3,
        mask=lambda parameters: {name: array.ndim >= 2 for name, array in parameters.items()},
    )
    check_against_optax(ours(AdamW(b1=0.8, b2=0.9, epsilon=1e-6, weight_decay=0.3)), theirs)


def one_step(
    settings: Adafactor, gradient: np.ndarray, theta: np.ndarray, stack: int = 0
) -> tuple[np.ndarray, OptimizerState]:
    """Returns the update of the first step at a rate of 0.1, and the state after it."""
    transformation = optimization.make(settings, {"w": specify(theta.shape, stack)}, {"w": Spread(stack)})
    parameters = {"w": jnp.asarray(theta, jnp.float32)}
    updates, state = jax.jit(transformation.update, compiler_options=QUICKLY)(
        {"w": jnp.asarray(gradient, jnp.float32)},
        transformation.init(parameters),
        parameters,
        learning_rate=jnp.float32(0.1),
    )
    return np.asarray(updates["w"]), state


@pytest.mark.parametrize("factored", [False, True])
def test_adafactor_decays_weights_by_the_squared_rate(factored: bool) -> None:
    update, state = one_step(Adafactor(factored=factored), np.zeros((4, 4)), np.full((4, 4), 3.0))
    assert np.allclose(update, -(0.1**2) * 3.0, rtol=1e-6)
    assert np.all(state.moments["m"]["w"] == 0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_factored_steps_do_not_depend_on_the_gradients_scale(scale: float) -> None:
    """The product of row and column means, which are squares, would underflow or overflow in float32."""
    gradient = np.random.default_rng(0).normal(size=(5, 7))
    gradient[2] = gradient[:, 3] = 0
    plain, no_scale = np.ones((5, 7)), Adafactor(momentum=0, factored=True, parameter_scale=False, weight_decay=False)
    update, _ = one_step(no_scale, gradient * scale, plain)
    square = gradient.astype(np.float32).astype(np.float64) ** 2 + 1e-30
    expected = gradient / np.sqrt(np.outer(square.mean(1), square.mean(0)) / square.mean())
    assert np.allclose(update, -0.1 * expected, rtol=1e-5, atol=0)


def test_three_axes_are_factored_over_the_last_two() -> None:
    random = np.random.default_rng(0)
    gradient, theta = random.normal(size=(2, 3, 4, 5)), random.normal(size=(2, 3, 4, 5))
    update, state = one_step(Adafactor(momentum=0, factored=True, weight_decay=False), gradient, theta, stack=1)
    assert jax.tree.map(jnp.shape, state.moments) == {"rows": {"w": (2, 3, 4)}, "columns": {"w": (2, 3, 5)}}
    for layer in range(2):
        for g, u in zip(gradient[layer], update[layer], strict=True):
            second = np.outer((g**2).mean(1), (g**2).mean(0)) / (g**2).mean()
            assert np.allclose(u, -0.1 * reference.rms(theta[layer]) * g / np.sqrt(second), rtol=1e-5)


@pytest.mark.parametrize("settings", [Adafactor(), AdamW(), GLAM], ids=["palm", "adamw", "glam"])
def test_the_state_starts_at_zero_with_the_needed_moments(settings: Adafactor | AdamW) -> None:
    parameters = {name: jnp.asarray(array) for name, array in PARAMETERS.items()}
    state = optimization.make(settings, TABLE, SPREADS).init(parameters)
    assert state.k == 0
    shapes = {moment: {name: array.shape for name, array in of.items()} for moment, of in state.moments.items()}
    matrices = {name: shape for name, shape in SHAPES.items() if name not in VECTORS} if settings is GLAM else {}
    expected = {
        "m": {} if settings is GLAM else SHAPES,
        "v": {name: shape for name, shape in SHAPES.items() if name not in matrices},
        "rows": {name: shape[:-1] for name, shape in matrices.items()},
        "columns": {name: (*shape[:-2], shape[-1]) for name, shape in matrices.items()},
    }
    assert shapes == {moment: of for moment, of in expected.items() if of}
    assert all(array.dtype == jnp.float32 and not np.any(array) for array in jax.tree.leaves(state[1:]))


@pytest.mark.parametrize("settings", [Adafactor(), AdamW(), GLAM], ids=["palm", "adamw", "glam"])
def test_a_step_keeps_the_shapes_and_types_of_the_state(settings: Adafactor | AdamW) -> None:
    transformation = optimization.make(settings, TABLE, SPREADS)
    state = jax.eval_shape(transformation.init, PARAMETERS)
    _, after = jax.eval_shape(transformation.update, PARAMETERS, state, PARAMETERS, learning_rate=jnp.float32(0.1))
    assert jax.tree.map(lambda _: 0, after) == jax.tree.map(lambda _: 0, state)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(after)] == [(a.shape, a.dtype) for a in jax.tree.leaves(state)]
