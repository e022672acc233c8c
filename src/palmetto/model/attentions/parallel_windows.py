"""Parallel context windows (arXiv 2212.10947)."""

from typing import Literal

from pydantic import model_validator

from palmetto.recipe.parts import Array, Attention, Blocks, Positions
from palmetto.recipe.section import PositiveInt32, impossible


class ParallelWindows(Attention):
    """Divides the context into windows that do not see each other and share positions (arXiv 2212.10947).

    Positions after the last window see all windows.
    """

    name: Literal["parallel_windows"] = "parallel_windows"
    window: PositiveInt32
    count: PositiveInt32
    """The number of windows; positions from count · window on see everything before them."""

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
        """The first position after the windows."""
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
        """Returns positions that start at 0 in each window and continue from `window` after the last one."""
        import jax.numpy as jnp

        return jnp.where(positions < self._end, positions % self.window, positions - self._end + self.window)
