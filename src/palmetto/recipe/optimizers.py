"""What an optimizer is: its settings, the moments that it keeps of a parameter, and how it updates the parameter.

Each is a file of training/optimizers/. Checkpoints, digests, the placement of the state on a mesh and the plan all
follow the declaration of the moments (training/optimization.py).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from palmetto.recipe.kinds import Kind

Array: TypeAlias = Any
"""An array of JAX."""


class Parameter(Protocol):
    """What an optimizer is told of a parameter (model/weights.py)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape; the first axes are the stack."""

    @property
    def axes(self) -> tuple[str, ...]:
        """The logical axis of each dimension."""

    @property
    def stack(self) -> int:
        """The number of leading axes that count logical matrices: 0, 1 (layers) or 2 (layers and experts)."""


class Moment(NamedTuple):
    """The declaration of an array that an optimizer keeps of a parameter: float32, and zero before the first step."""

    shape: tuple[int, ...]
    """Shape, with the parameter's stack first."""
    axes: tuple[str, ...]
    """The logical axis of each dimension."""


class Optimizer(Kind):
    """The settings of an optimizer, and its rule for one parameter."""

    folder = "palmetto.training.optimizers"
    usual_name = "adafactor"

    def moments(self, of: Parameter) -> dict[str, Moment]:
        """Returns the declaration of the moments that are kept of a parameter, by name."""
        raise NotImplementedError

    def update(
        self,
        gradient: Array,
        parameter: Array,
        moments: Mapping[str, Array],
        *,
        k: Array,
        learning_rate: Array,
        spread: Any,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns what is added to a parameter, and its new moments.

        The arrays are what one device of the mesh updates. `k`, an int32 scalar, counts the updates from 1. `spread`
        (parallel.sharding.Spread) says how many leading axes count logical matrices, which are what a scale is taken
        of, and on which devices a matrix lies.
        """
        raise NotImplementedError
