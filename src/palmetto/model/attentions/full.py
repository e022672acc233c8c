"""Full causal attention: every position sees itself and all positions before it."""

from typing import ClassVar, Literal

from palmetto.recipe.parts import Array, Attention, Band


class FullAttention(Attention):
    """Lets every position see itself and all positions before it."""

    name: Literal["full"] = "full"

    takes_prefix: ClassVar[bool] = True

    def sees(self, queries: Array, keys: Array) -> Array:
        return queries >= keys

    @property
    def band(self) -> Band:
        return Band(None)
