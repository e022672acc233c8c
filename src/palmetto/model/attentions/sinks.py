"""Λ-shaped attention: the first positions and a window (arXiv 2309.17453, 2308.16137)."""

from typing import Literal

from palmetto.recipe.parts import Array, Attention, Blocks, Kept
from palmetto.recipe.section import Positive, PositiveInt32


class SinkAttention(Attention):
    """Lets a position see the first `sinks` positions and the last `window` positions (a Λ-shaped mask).

    Distances to the sinks are capped at `window` (arXiv 2309.17453, 2308.16137).
    """

    name: Literal["sinks"] = "sinks"
    sinks: PositiveInt32 = 4
    window: PositiveInt32
    every: Positive = 1
    """The period of the layers, as in local attention."""

    def period(self, layers: int) -> int:
        return self.every

    def sees(self, queries: Array, keys: Array) -> Array:
        return (queries - keys < self.window) | (keys < self.sinks)

    def sees_blocks(self, blocks: Blocks) -> Array:
        return (blocks.nearest < self.window) | (blocks.first_key < self.sinks)

    @property
    def farthest(self) -> int:
        return self.window

    @property
    def kept(self) -> Kept:
        return Kept(self.sinks, self.window)
