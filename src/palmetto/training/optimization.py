"""The state of an optimizer over all parameters, and its update as a transformation of optax."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from palmetto.model.sums import rounded
from palmetto.model.weights import Parameters, Table
from palmetto.parallel.sharding import Spread
from palmetto.recipe.optimizers import Moment, Optimizer


class OptimizerState(NamedTuple):
    """Holds the state that an optimizer keeps between steps."""

    k: jax.Array
    """The number of updates applied so far, an int32 scalar."""
    moments: dict[str, Parameters]
    """Name of the moment → name of the parameter → float32 array."""


RESERVED = ("parameters", "k", "loss_scale")
"""The names in a checkpoint that no moment may have."""


def declare(optimizer: Optimizer, table: Table) -> dict[str, dict[str, Moment]]:
    """Returns the declaration of the whole state, name of the moment → name of the parameter → shape and axes.

    Frozen parameters have none.
    """
    state: dict[str, dict[str, Moment]] = {}
    for name, of in table.items():
        if of.frozen:
            continue
        for moment, declared in optimizer.moments(of).items():
            assert moment not in RESERVED, f"a checkpoint has other contents under the name {moment}"
            assert declared.axes[: of.stack] == of.axes[: of.stack], "a logical matrix has moments of its own"
            state.setdefault(moment, {})[name] = declared
    return state


def make(optimizer: Optimizer, table: Table, spreads: Mapping[str, Spread]) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer as a transformation of optax over the parameters of a table.

    Its function update(gradients, state, parameters, learning_rate=…) returns (changes of the parameters, new state).
    """

    def initialize(parameters: Parameters) -> OptimizerState:
        state = declare(optimizer, {name: table[name] for name in parameters})
        zeros = {
            moment: {name: jnp.zeros(declared.shape, jnp.float32) for name, declared in arrays.items()}
            for moment, arrays in state.items()
        }
        return OptimizerState(jnp.zeros((), jnp.int32), zeros)

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        of_one = partial(
            optimizer.update, coefficients=optimizer.coefficients(state.k + 1), learning_rate=learning_rate
        )
        updates, moments = _over_parameters(of_one, gradients, state, parameters, spreads)
        return updates, OptimizerState(state.k + 1, moments)

    return optax.GradientTransformationExtraArgs(initialize, update)


def step(
    optimizer: Optimizer,
    gradients: Parameters,
    state: OptimizerState,
    parameters: Parameters,
    spreads: Mapping[str, Spread],
    *,
    learning_rate: jax.Array,
    finite: jax.Array,
    native: bool,
) -> tuple[Parameters, OptimizerState]:
    """Returns the parameters and the state after an update, or both as they were unless `finite`, a boolean.

    Parameters without a gradient stay as they are.
    native: use the optimizer's kernels of `native`, if it has any.
    """
    coefficients = optimizer.coefficients(state.k + 1)
    of_one = partial(
        optimizer.step, coefficients=coefficients, learning_rate=learning_rate, finite=finite, native=native
    )
    updated, moments = _over_parameters(of_one, gradients, state, parameters, spreads)
    return parameters | updated, OptimizerState(jnp.where(finite, state.k + 1, state.k), moments)


def _over_parameters(
    of_one: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
    gradients: Parameters,
    state: OptimizerState,
    parameters: Parameters,
    spreads: Mapping[str, Spread],
) -> tuple[Parameters, dict[str, Parameters]]:
    """Returns what a function of gradient, parameter and moments makes of each parameter, and all new moments."""
    results: Parameters = {}
    new: dict[str, Parameters] = {moment: {} for moment in state.moments}
    for name, gradient in gradients.items():
        moments = {moment: arrays[name] for moment, arrays in state.moments.items() if name in arrays}
        results[name], moved = of_one(gradient, parameters[name], moments, spread=spreads[name])
        assert moved.keys() == moments.keys(), "an update returns the moments that are declared"
        for moment, array in moved.items():
            new[moment][name] = array
    return results, new


def blend(a: jax.Array | float, x: jax.Array, b: jax.Array | float, y: jax.Array) -> jax.Array:
    """Returns a·x + b·y with both products rounded.

    Otherwise the compiler would fuse one of them with the sum, and which one depends on the surrounding code.
    """
    return rounded(a * x) + rounded(b * y)
