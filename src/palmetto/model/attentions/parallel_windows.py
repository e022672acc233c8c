"""Parallel context windows (arXiv 2212.10947)."""

from typing import Literal

from pydantic import model_validator

from palmetto.recipe.parts import Array, Attention, Blocks, Positions
from palmetto.recipe.section import PositiveInt32, impossible


class ParallelWindows(Attention):
    """Parallel context windows (arXiv 2212.10947): the context comes in windows that do not see each other and share
    positions; what stands behind the last whole window sees them all."""

    name: Literal["parallel_windows"] = "parallel_windows"
    window: PositiveInt32
    count: PositiveInt32
    """Windows; from position count · window on, everything before is seen."""

    @model_validator(mode="after")
    def _check(self) -> "ParallelWindows":
        if self._end >= 2**31:
            most = (2**31 - 1) // self.window
            raise impossible(
                "model.attention.count",
                self.count,
                f"positions up to count · window, with model.attention.window={self.window}, must fit in 32 bits: at "
                f"most {most} would do",
            )
        return self

    @property
    def _end(self) -> int:
        """The first position behind the windows."""
        return self.count * self.window

    def suits(self, positions: Positions) -> bool:
        return not positions.in_a_row

    def sees(self, queries: Array, keys: Array) -> Array:
        behind = queries >= self._end
        return behind | (queries // self.window == keys // self.window)

    def sees_blocks(self, blocks: Blocks) -> Array:
        import numpy as np

        # If any two positions share a window, the nearest two do.
        shared = blocks.first // self.window == np.minimum(blocks.first, blocks.last_key) // self.window
        return (blocks.last >= self._end) | ((blocks.first < self._end) & shared)

    def seen_as(self, positions: Array) -> Array:
        """Each window's positions begin at 0; those behind the windows go on where a window ends."""
        import jax.numpy as jnp

        return jnp.where(positions < self._end, positions % self.window, positions - self._end + self.window)
