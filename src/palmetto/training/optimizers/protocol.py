"""What an optimizer says of itself: the moments that it keeps of a parameter, and how it updates the parameter.

Checkpoints, digests, the placement of the state on a mesh and the plan all follow the declaration of the moments.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from palmetto.model.sums import rounded
from palmetto.model.weights import Parameters, Specification, Table
from palmetto.parallel.sharding import Spread


class Moment(NamedTuple):
    """The declaration of an array that an optimizer keeps of a parameter: float32, and zero before the first step."""

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    """The logical axis of each dimension, as in `Specification`; the first ones are the parameter's stack."""


Moments = Mapping[str, jax.Array]
"""The moments of one parameter, by the names that the optimizer has declared them under."""


class OptimizerState(NamedTuple):
    """What an optimizer keeps between steps."""

    k: jax.Array
    """The number of updates applied so far, an int32 scalar."""
    moments: dict[str, Parameters]
    """Name of the moment → name of the parameter → float32 array."""


class Optimizer(Protocol):
    """An optimizer with its settings."""

    def moments(self, of: Specification) -> dict[str, Moment]:
        """Returns the declaration of the moments that are kept of a parameter, by name."""

    def update(
        self,
        gradient: jax.Array,
        parameter: jax.Array,
        moments: Moments,
        *,
        k: jax.Array,
        learning_rate: jax.Array,
        spread: Spread,
    ) -> tuple[jax.Array, Moments]:
        """Returns what is added to a parameter, and its new moments.

        The arrays are what one device of the mesh updates. `k` counts the updates from 1. `spread` says how many
        leading axes count logical matrices, which are what a scale is taken of, and on which devices a matrix lies.
        """


RESERVED = ("parameters", "k", "loss_scale")
"""The names that a checkpoint uses for what is not a moment."""


def declared(optimizer: Optimizer, table: Table) -> dict[str, dict[str, Moment]]:
    """Returns the declaration of the whole state: name of the moment → name of the parameter → shape and axes."""
    state: dict[str, dict[str, Moment]] = {}
    for name, of in table.items():
        for moment, declaration in optimizer.moments(of).items():
            assert moment not in RESERVED, f"a checkpoint has other contents under the name {moment}"
            assert declaration.axes[: of.stack] == of.axes[: of.stack], "a logical matrix has moments of its own"
            state.setdefault(moment, {})[name] = declaration
    return state


def as_transformation(
    optimizer: Optimizer, table: Table, spreads: Mapping[str, Spread]
) -> optax.GradientTransformationExtraArgs:
    """Returns the optimizer as a transformation of optax over all parameters at once.

    update(gradients, state, parameters, learning_rate=…) → (what is added to the parameters, new state).
    """

    def initialize(parameters: Parameters) -> OptimizerState:
        state = declared(optimizer, {name: table[name] for name in parameters})
        zeros = {
            moment: {name: jnp.zeros(declaration.shape, jnp.float32) for name, declaration in arrays.items()}
            for moment, arrays in state.items()
        }
        return OptimizerState(jnp.zeros((), jnp.int32), zeros)

    def update(
        gradients: Parameters, state: OptimizerState, parameters: Parameters | None = None, *, learning_rate: jax.Array
    ) -> tuple[Parameters, OptimizerState]:
        assert parameters is not None
        new = OptimizerState(state.k + 1, {moment: {} for moment in state.moments})
        updates = {}
        for name, gradient in gradients.items():
            moments = {moment: arrays[name] for moment, arrays in state.moments.items() if name in arrays}
            updates[name], moved = optimizer.update(
                gradient, parameters[name], moments, k=new.k, learning_rate=learning_rate, spread=spreads[name]
            )
            assert moved.keys() == moments.keys(), "an update returns the moments that are declared"
            for moment, array in moved.items():
                new.moments[moment][name] = array
        return updates, new

    return optax.GradientTransformationExtraArgs(initialize, update)


def blend(a: jax.Array | float, x: jax.Array, b: jax.Array | float, y: jax.Array) -> jax.Array:
    """Returns a·x + b·y with both products rounded.

    Otherwise a compiler would choose by what is around which of them it fuses with the sum.
    """
    return rounded(a * x) + rounded(b * y)
