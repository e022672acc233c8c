"""Full attention: every position sees all before it."""

from typing import ClassVar, Literal

from palmetto.recipe.parts import Array, Attention, Band


class FullAttention(Attention):
    """Every position sees all before it."""

    name: Literal["full"] = "full"

    takes_prefix: ClassVar[bool] = True

    def sees(self, queries: Array, keys: Array) -> Array:
        return queries >= keys

    @property
    def band(self) -> Band:
        return Band(None)
