"""The interface of optimizers: their settings, the moments that they keep of a parameter, and their update rule.

Each optimizer is a file in training/optimizers/. Checkpoints, digests, the placement of the state on a mesh and the
plan follow from the declaration of its moments (training/optimization.py).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from palmetto.recipe.kinds import Kind

Array: TypeAlias = Any
"""An array of JAX."""


class Parameter(Protocol):
    """The properties of a parameter that an optimizer may use (model/weights.py)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; the first axes are the stack."""

    @property
    def axes(self) -> tuple[str, ...]:
        """The logical axis of each dimension."""

    @property
    def stack(self) -> int:
        """The number of leading axes that count logical matrices: 0, 1 (layers) or 2 (layers and experts)."""


class Moment(NamedTuple):
    """The declaration of an array that an optimizer keeps of a parameter: float32, zero before the first step."""

    shape: tuple[int, ...]
    """The shape, with the parameter's stack first."""
    axes: tuple[str, ...]
    """The logical axis of each dimension."""


class Optimizer(Kind):
    """The settings of an optimizer, and its rule for one parameter."""

    folder = "palmetto.training.optimizers"
    usual_name = "adafactor"

    def moments(self, of: Parameter) -> dict[str, Moment]:
        """Returns the declarations of the moments that are kept of a parameter, by name."""
        raise NotImplementedError

    def coefficients(self, k: Array) -> Any:
        """Returns the scalars that the updates of all parameters share; k: the update's number from 1, int32.

        They are computed once a step: the compiler would give each parameter's own another rounding.
        """
        return None

    def update(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: Any,
        learning_rate: Array,
        spread: Any,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the increment of a parameter, and its new moments.

        The arrays are the parts that one device of the mesh updates. coefficients: those of the step. spread: a
        parallel.sharding.Spread, which has the number of leading axes that count logical matrices, the units of scales,
        and the devices that share a matrix.
        """
        raise NotImplementedError

    def step(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        coefficients: Any,
        learning_rate: Array,
        spread: Any,
        finite: Array,
        native: bool,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns a parameter and its moments after the update; they stay as they are unless `finite`, a boolean.

        An optimizer may have kernels that compute this on a CPU, for `native`. The other arguments are those of
        `update`.
        """
        import jax.numpy as jnp

        change, moved = self.update(
            gradient, parameter, moments, coefficients=coefficients, learning_rate=learning_rate, spread=spread
        )
        new = {name: jnp.where(finite, moved[name], old) for name, old in moments.items()}
        return jnp.where(finite, parameter + change, parameter), new
