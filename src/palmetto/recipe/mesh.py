"""The mesh of devices on which a run computes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from palmetto.recipe.section import Section, Size, impossible

AXES = ("pod", "data", "stage", "expert", "sequence", "model")
"""The axes of a mesh, from the slowest network to the fastest."""


MOST_DATA = 1024
"""The most devices along `data`: the number of chunks of a sum whose bits do not depend on the number of devices."""

_BY_LEAVES = ("pod", "data", "expert")
"""The axes that divide the leaves of the gradient's tree."""


class Mesh(Section):
    """The size of each axis. Their product is the number of devices; a CPU gets as many virtual devices."""

    pod: Size = 1
    """The number of replicas of the model, each with a share of the batch (PaLM, arXiv 2204.02311, section 4)."""
    data: Annotated[int, Field(ge=1, le=MOST_DATA)] = 1
    """The number of shares of a pod's batch (data parallelism)."""
    stage: Size = 1
    """The number of pipeline stages, each with consecutive layers."""
    expert: Size = 1
    """The number of shares of each layer's experts; everything outside the experts uses the axis like `data`."""
    sequence: Size = 1
    """The number of shares of each sequence's positions."""
    model: Size = 1
    """The number of shares of each layer's heads and feed-forward units (tensor parallelism)."""
    zero: Literal[0, 1, 2, 3] = 3
    """The arrays that are also sharded over `data` (ZeRO, arXiv 1910.02054): 0 none; 1 the optimizer state; 2 also the
    gradients; 3 also the parameters, gathered a layer at a time (fully sharded data parallelism). On CPUs an
    elastic run without stages gathers them once a step instead (docs/determinism.md)."""
    schedule: Literal["gpipe", "1f1b"] = "1f1b"
    """The order of micro-batches in a pipeline: GPipe (arXiv 1811.06965) or 1F1B (arXiv 1806.03377)."""

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each axis, in the order of `AXES`."""
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def devices(self) -> int:
        """The number of devices."""
        return math.prod(self.sizes.values())


ONE_DEVICE = Mesh()


def check_mesh(
    mesh: Mesh, divided: Sequence[tuple[str, str, int]], batch_size: Mapping[int, int], micro_batch: int
) -> None:
    """Raises UserError if an axis does not divide what it must divide.

    divided: (axis, name in messages, size) of each dimension that an axis divides. Every size that a message suggests
    meets all rules of its axis.
    """
    leaves = [size // micro_batch for size in batch_size.values()]
    for axis, devices in mesh.sizes.items():
        parts = {what: size for of, what, size in divided if of == axis}
        if axis in _BY_LEAVES and devices & (devices - 1):
            must = "be a power of two, as the gradient's tree needs"
        elif any(size % devices for size in parts.values()):
            *others, last = (f"{what} ({size})" for what, size in parts.items())
            must = f"divide {', '.join(others)} and {last}" if others else f"divide {last}"
        else:
            continue
        nearest = _nearest(mesh, axis, parts.values(), leaves)
        raise impossible(f"mesh.{axis}", devices, f"must {must}: {nearest} would do")
    at_once = math.prod(getattr(mesh, axis) for axis in _BY_LEAVES)
    for size, count in zip(batch_size.values(), leaves, strict=True):
        if count % at_once:
            axes = "·".join(f"mesh.{axis}" for axis in _BY_LEAVES if getattr(mesh, axis) > 1)
            fits = math.gcd(*leaves)
            has = f"has {count} micro-batch{'es' * (count > 1)} of {micro_batch} for the {at_once} devices of {axes}"
            instead = f"{at_once * micro_batch} sequences would do, or {fits} device{'s' * (fits > 1)}"
            raise impossible("training.batch_size", size, f"{has}: {instead}")


def _nearest(mesh: Mesh, axis: str, parts: Iterable[int], leaves: Sequence[int]) -> str:
    """Returns at most two valid sizes of an axis that divide all `parts`, those nearest to its current size."""
    devices, common = getattr(mesh, axis), math.gcd(*parts)
    if axis in _BY_LEAVES:
        beside = math.prod(getattr(mesh, other) for other in _BY_LEAVES if other != axis)
        share = math.gcd(*leaves)
        common = math.gcd(common, share if share % beside else share // beside)
    fits = [n for n in range(1, common + 1) if common % n == 0 and (axis not in _BY_LEAVES or n & (n - 1) == 0)]
    return " or ".join(map(str, sorted(sorted(fits, key=lambda n: abs(n - devices))[:2])))
