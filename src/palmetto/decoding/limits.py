"""Says how much an engine works on at a time, and how much memory its cache takes."""

from dataclasses import dataclass

from palmetto.decoding.cached import streams
from palmetto.decoding.caches.paged import part_entries
from palmetto.decoding.refusal import Refused
from palmetto.recipe.model import Model


@dataclass(frozen=True)
class Limits:
    """Holds the sizes of an engine's step and cache."""

    rows: int = 64
    """R, the most rows of a step."""
    block: int = 16
    """S, the number of positions of a block, a power of two."""
    blocks: int | None = None
    """The number of blocks; None for as many as `memory` holds, but no more than all sequences can fill."""
    memory: int = 1 << 30
    """The bytes of keys and values, if `blocks` does not say how many blocks there are."""
    sequences: int = 64
    """The most sequences that run at a time; each choice and each beam is one."""
    longest: int = 2048
    """The most positions of a sequence, prompt included."""

    def check(self) -> "Limits":
        """Returns self; raises Refused that names the limit that is out of range."""
        for name in ("rows", "block", "sequences", "longest"):
            if getattr(self, name) < 1:
                raise Refused(name, "expected at least 1", getattr(self, name))
        if self.block & (self.block - 1):
            raise Refused("block", "expected a power of two, such as 16", self.block)
        if self.sequences > self.rows:
            raise Refused("sequences", f"expected at most rows={self.rows}, a row for each", self.sequences)
        return self

    def positions(self, model: Model) -> int:
        """Returns the most positions of a sequence of this model."""
        return min(self.longest, model.positions.end or self.longest)

    def turns(self, model: Model) -> tuple[int, int] | None:
        """Returns the numbers of first blocks and of blocks in turn, if a table need not hold all of a sequence."""
        kept = model.attention.kept
        if not streams(model) or kept is None:
            return None
        return -(-kept.first // self.block), (kept.last + self.rows) // self.block + 2

    def entries(self, model: Model) -> int:
        """Returns the number of entries of a table, in whole parts."""
        turns, most = self.turns(model), -(-self.positions(model) // self.block)
        part = part_entries(self.block)
        return -(-(most if turns is None else min(most, sum(turns))) // part) * part

    def count(self, model: Model) -> int:
        """Returns the number of blocks; raises Refused if not even one sequence would fit."""
        of_one = -(-self.positions(model) // self.block)
        if (turns := self.turns(model)) is not None:
            of_one = min(of_one, sum(turns))
        if self.blocks is not None:
            return self.blocks
        fit = self.memory // block_bytes(model, self.block)
        if fit < of_one:
            takes = of_one * block_bytes(model, self.block)
            raise Refused(
                "memory", f"a sequence of {self.positions(model)} positions takes {takes:,} bytes", self.memory
            )
        return min(fit, self.sequences * of_one)


def block_bytes(model: Model, size: int) -> int:
    """Returns the bytes of the keys and values of a block of `size` positions, in all layers."""
    width = 4 if model.activations == "float32" else 2
    return 2 * model.layers * model.key_value_heads * size * model.query_size * width
