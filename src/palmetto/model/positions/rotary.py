"""Rotary positions: queries and keys are rotated by angles that grow with the position (arXiv 2104.09864).

The elements of a pair are adjacent in the stored kernels (x0 y0 x1 y1 …, as in the paper) and in two halves
(x0 x1 … y0 y1 …) when they are rotated. Queries and keys are reordered alike, so that no product changes.
"""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from palmetto.recipe.parts import Array, PairTurn, Positions, Sizes, Turn
from palmetto.recipe.section import Positive, Rate, check_even, impossible


class RotaryPositions(Positions):
    """Rotates queries and keys by angles that grow with the position (arXiv 2104.09864)."""

    name: Literal["rotary"] = "rotary"
    base: Rate = 10000.0
    """The base of the angles: pair i of Q/2 is rotated by position · base^(−2i/Q). A larger base slows the slow pairs
    most."""
    scaling: Literal["none", "interpolation", "ntk", "truncated"] = "none"
    """The method of extending the context beyond the trained length: interpolation divides all positions by `factor`
    (arXiv 2306.15595); ntk raises the base so that only the slowest pair's angle is fully divided by it; truncated
    does not rotate the pairs that turn less than once in `trained` positions (arXiv 2308.10882)."""
    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    trained: Positive | None = None
    """The sequence length of training, which `truncated` needs."""

    without_end: ClassVar[bool] = True
    turn_pairs: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> "RotaryPositions":
        if self.scaling == "truncated" and self.trained is None:
            raise impossible("model.positions.trained", self.trained, "truncated scaling needs the length of training")
        if self.factor != 1 and self.scaling not in ("interpolation", "ntk"):
            raise impossible(
                "model.positions.factor",
                self.factor,
                f"only the scalings interpolation and ntk have a factor, and model.positions.scaling is {self.scaling}",
            )
        return self

    def check(self, model: Sizes) -> None:
        check_even("model.head_size", model.query_size, "rotary positions turn pairs")

    def turn(self, positions: Array, head_size: int) -> Turn:
        """Returns the function that rotates pair i of a head by position · base^(−2i/Q) (section 3.2)."""
        return self.angles(positions, head_size)

    def angles(self, positions: Array, head_size: int) -> PairTurn:
        """Returns the rotation by position · base^(−2i/Q) at integer positions [..., T]."""
        import jax.numpy as jnp

        base = self.base
        if self.scaling == "ntk":  # the slowest pair's angle is divided by the factor, the fastest's stays
            base *= self.factor ** (head_size / max(head_size - 2, 1))
        frequencies = base ** (-jnp.arange(0, head_size, 2, dtype=jnp.float32) / head_size)
        if self.scaling == "interpolation":
            frequencies = frequencies / self.factor
        elif self.scaling == "truncated":
            assert self.trained is not None
            frequencies = jnp.where(frequencies * self.trained >= 2 * math.pi, frequencies, 0.0)
        angles = positions.astype(jnp.float32)[..., None] * frequencies
        return PairTurn(jnp.cos(angles), jnp.sin(angles))
