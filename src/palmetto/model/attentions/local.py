"""Local attention: a sliding window."""

from typing import ClassVar, Literal

from palmetto.recipe.parts import Array, Attention, Band, Blocks
from palmetto.recipe.section import Positive, PositiveInt32


class LocalAttention(Attention):
    """Lets a position see the last `window` positions, itself included."""

    name: Literal["local"] = "local"
    window: PositiveInt32
    every: Positive = 1
    """The period of the layers: layers every − 1, 2·every − 1, … have this attention, the others full attention (GPT-3
    alternates: 2)."""

    takes_prefix: ClassVar[bool] = True

    def period(self, layers: int) -> int:
        return self.every

    def sees(self, queries: Array, keys: Array) -> Array:
        return queries - keys < self.window

    def sees_blocks(self, blocks: Blocks) -> Array:
        return blocks.nearest < self.window

    @property
    def band(self) -> Band:
        return Band(self.window)
