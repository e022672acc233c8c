"""The state of an optimizer over all parameters, and its update as a transformation of optax."""

from collections.abc import Mapping
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
    """Returns the declaration of the whole state, name of the moment → name of the parameter → shape and axes."""
    state: dict[str, dict[str, Moment]] = {}
    for name, of in table.items():
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
        new = OptimizerState(state.k + 1, {moment: {} for moment in state.moments})
        updates, coefficients = {}, optimizer.coefficients(new.k)
        for name, gradient in gradients.items():
            moments = {moment: arrays[name] for moment, arrays in state.moments.items() if name in arrays}
            updates[name], moved = optimizer.update(
                gradient,
                parameters[name],
                moments,
                coefficients=coefficients,
                learning_rate=learning_rate,
                spread=spreads[name],
            )
            assert moved.keys() == moments.keys(), "an update returns the moments that are declared"
            for moment, array in moved.items():
                new.moments[moment][name] = array
        return updates, new

    return optax.GradientTransformationExtraArgs(initialize, update)


def blend(a: jax.Array | float, x: jax.Array, b: jax.Array | float, y: jax.Array) -> jax.Array:
    """Returns a·x + b·y with both products rounded.

    Otherwise the compiler would fuse one of them with the sum, and which one depends on the surrounding code.
    """
    return rounded(a * x) + rounded(b * y)
