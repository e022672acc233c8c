"""Describes a strategy: what it takes from a request, and what it does to the logits of many requests at once."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from palmetto.decoding.sampling import Sampling

HUGE = 1e30
"""The number that stands for all larger ones, so that logits multiplied or divided by it or its inverse are finite."""


def bounded(number: float) -> float:
    """Returns a number as strategies compute with it in float32: not above HUGE, and if positive not below 1/HUGE."""
    return max(-HUGE, 1 / HUGE if 0 < number < 1 / HUGE else min(number, HUGE))


class Context(NamedTuple):
    """Holds what strategies know of a row."""

    sampling: Sampling
    tokens: npt.NDArray[np.int32]
    """The tokens up to and with the row's."""
    prompt: int
    """The number of these that are the prompt's."""
    allowed: npt.NDArray[np.bool_] | None = None
    """The tokens that a constraint allows, [V]."""


class Sizes(NamedTuple):
    """Holds the sizes of the arrays that strategies take: few of them, since each makes a program to compile."""

    rows: int
    vocabulary: int
    positions: int
    """The most positions of a sequence."""


class Strategy:
    """Changes logits before a token is chosen from them. It is without state."""

    name: ClassVar[str]
    scaled: ClassVar[bool] = False
    """Says whether it comes after the temperature, and never changes which token is the most probable."""
    long: ClassVar[bool] = False
    """Says whether its arrays are long lists of tokens, which steps in which nobody uses it do without."""

    def used(self, row: Context) -> bool:
        """Returns whether a row uses it."""
        raise NotImplementedError

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> Any:
        """Returns arrays for a step, given the rows that use it; their shapes follow from `sizes` alone.

        With these arrays, `apply` must leave the other rows as they are.
        """
        raise NotImplementedError

    def apply(self, logits: jax.Array, parameters: Any) -> jax.Array:
        """Returns the logits [R, V] as it changes them; those of rows that do not use it keep their bits."""
        raise NotImplementedError


class Number(Strategy):
    """Takes one number from a request: the field of `Sampling` that has the strategy's name."""

    unused: ClassVar[float]
    """The number that stands for rows that do not use it."""

    def used(self, row: Context) -> bool:
        return getattr(row.sampling, self.name) not in (None, self.unused)

    def parameters(self, rows: Mapping[int, Context], sizes: Sizes) -> Any:
        """Returns the numbers, float32 [R]."""
        numbers = np.full(sizes.rows, self.unused, np.float32)
        for row, context in rows.items():
            numbers[row] = bounded(getattr(context.sampling, self.name))
        return numbers
