"""Tests the optimizers' kernels against float64, and through the optimizers that call them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from palmetto.native.optimizers import adafactor, adamw
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import Optimizer
from palmetto.training import optimization
from palmetto.training.optimization import OptimizerState
from palmetto.training.optimizers.adafactor import Adafactor
from palmetto.training.optimizers.adamw import AdamW
from tests.native.conftest import Choose

YES, NO = jnp.asarray(True), jnp.asarray(False)
SHAPES = [(1, 1), (3, 5), (2, 16), (1, 511), (3, 70_001), (2, 0)]


def arrays(*shape: int) -> list[jax.Array]:
    """Returns a gradient, a parameter, m and v."""
    random = np.random.default_rng(sum(shape))
    drawn = [jnp.asarray(random.standard_normal(shape), jnp.float32) for _ in range(4)]
    return [*drawn[:3], jnp.square(drawn[3])]


def is_close(found: tuple[jax.Array, ...], exact: tuple[Any, ...]) -> bool:
    return all(np.allclose(ours, wanted, rtol=1e-6, atol=1e-6) for ours, wanted in zip(found, exact, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_adafactor_is_that_of_float64(instruction_set: str, shape: tuple[int, int]) -> None:
    given = arrays(*shape)
    scales = np.linspace(0.01, 0.5, shape[0])
    found = adafactor(
        *given, scales=jnp.asarray(scales, jnp.float32), share=jnp.float32(0.2), momentum=0.9, decay=1e-4, finite=YES
    )
    g, theta, m, v = (np.asarray(array, np.float64) for array in given)
    v = 0.8 * v + 0.2 * (g**2 + 1e-30)
    m = 0.9 * m + 0.1 * scales[:, None] * g / np.sqrt(v)
    assert is_close(found, (theta - (1e-4 * theta + m), m, v))


@pytest.mark.parametrize("shape", SHAPES)
def test_adamw_is_that_of_float64(instruction_set: str, shape: tuple[int, int]) -> None:
    given = arrays(*shape)
    grown = (jnp.float32(0.3), jnp.float32(0.1))
    found = adamw(
        *given,
        b1=0.9,
        b2=0.95,
        grown=grown,
        epsilon=1e-3,
        learning_rate=jnp.float32(0.01),
        weight_decay=0.1,
        finite=YES,
    )
    g, theta, m, v = (np.asarray(array, np.float64) for array in given)
    m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
    theta = theta - 0.01 * (m / 0.3 / (np.sqrt(v / 0.1) + 1e-3) + 0.1 * theta)
    assert is_close(found, (theta, m, v))


def step(optimizer: Optimizer, *, native: bool, finite: jax.Array = YES) -> Any:
    """Returns what an optimizer makes of a stack of matrices and one of vectors in two steps."""
    given = {"w": arrays(3, 40, 50), "norm": arrays(3, 50)}
    gradients, parameters = ({name: four[place] for name, four in given.items()} for place in (0, 1))
    moments = {moment: {name: four[2 + place] for name, four in given.items()} for place, moment in enumerate("mv")}
    spreads = {"w": Spread(1), "norm": Spread(1)}

    @jax.jit
    def of(parameters: Any, state: Any) -> Any:
        return optimization.step(
            optimizer,
            gradients,
            state,
            parameters,
            spreads,
            learning_rate=jnp.float32(0.01),
            finite=finite,
            native=native,
        )

    return of(*of(parameters, OptimizerState(jnp.int32(3), moments)))


OPTIMIZERS = [Adafactor(), Adafactor(parameter_scale=False, weight_decay=False), AdamW()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_agree_with_and_without_kernels(instruction_set: str, optimizer: Optimizer) -> None:
    ours, plain = step(optimizer, native=True), step(optimizer, native=False)
    assert all(
        np.allclose(a, b, rtol=2e-6, atol=1e-7) for a, b in zip(*map(jax.tree.leaves, (ours, plain)), strict=True)
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_changes_without_finite_gradients(choose: Choose, optimizer: Optimizer) -> None:
    choose("avx2", 2)
    ours, plain = step(optimizer, native=True, finite=NO), step(optimizer, native=False, finite=NO)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (ours, plain)), strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_bits_are_those_of_any_set_and_threads(choose: Choose, optimizer: Optimizer) -> None:
    results = []
    for name, threads in (("avx2", 1), ("avx2", 8), ("avx512", 2)):
        choose(name, threads)
        results.append([np.asarray(array).tobytes() for array in jax.tree.leaves(step(optimizer, native=True))])
    assert results[0] == results[1] == results[2]
