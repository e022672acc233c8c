"""Strided attention of sparse transformers (arXiv 1904.10509, section 4.2)."""

from typing import Annotated, Literal

from pydantic import Field

from palmetto.recipe.parts import Array, Attention, Blocks
from palmetto.recipe.section import Positive


class StridedAttention(Attention):
    """Lets a position see the last `stride` positions and those at multiples of `stride` before it.

    It is the strided attention of sparse transformers (arXiv 1904.10509, section 4.2).
    """

    name: Literal["strided"] = "strided"
    stride: Annotated[int, Field(ge=2)]
    every: Positive = 1
    """The period of the layers, as in local attention."""

    def period(self, layers: int) -> int:
        return self.every

    def sees(self, queries: Array, keys: Array) -> Array:
        distance = queries - keys
        return (distance < self.stride) | (distance % self.stride == 0)

    def sees_blocks(self, blocks: Blocks) -> Array:
        nearest, farthest = blocks.nearest, blocks.farthest
        return (nearest < self.stride) | (farthest // self.stride * self.stride >= nearest)
