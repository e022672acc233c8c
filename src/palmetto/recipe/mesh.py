"""How a run is spread over devices: the sizes of a mesh's axes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field

from palmetto.recipe.section import Section, Size, impossible

AXES = ("pod", "data", "stage", "expert", "sequence", "model")
"""The axes of a mesh, slowest network first."""


MOST_DATA = 1024
"""Devices along data, at most: so many chunks has a sum whose bits do not depend on their number."""

_BY_LEAVES = ("pod", "data", "expert")
"""The axes whose devices take leaves of the gradient's tree."""


class Mesh(Section):
    """Devices by axis; their product is the number of devices. On a CPU as many virtual ones are made."""

    pod: Size = 1
    """Copies of everything, each with its share of the batch (PaLM, section 4)."""
    data: Annotated[int, Field(ge=1, le=MOST_DATA)] = 1
    """Shares of a pod's batch."""
    stage: Size = 1
    """Consecutive layers each, in a pipeline."""
    expert: Size = 1
    """Shares of each layer's experts, and of the batch for everything else."""
    sequence: Size = 1
    """Shares of each sequence's positions."""
    model: Size = 1
    """Shares of each layer's heads and feed-forward ("tensor parallelism")."""
    zero: Literal[0, 1, 2, 3] = 3
    """What of a model is spread over `data` as well (ZeRO, arXiv 1910.02054): 0 nothing; 1 the optimizer state; 2 also
    the gradients; 3 also the parameters, gathered a layer at a time (fully sharded data parallelism). On CPUs an
    elastic run without stages gathers them once a step instead (docs/determinism.md)."""
    schedule: Literal["gpipe", "1f1b"] = "1f1b"
    """The order of micro-batches in a pipeline (arXiv 1811.06965; 1806.03377)."""

    @property
    def sizes(self) -> dict[str, int]:
        """Devices by axis, in the order of AXES."""
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def devices(self) -> int:
        """Devices in all."""
        return math.prod(self.sizes.values())


def check_mesh(
    mesh: Mesh, divided: Sequence[tuple[str, str, int]], batch_size: Mapping[int, int], micro_batch: int
) -> None:
    """UserError where an axis does not divide what it must: `divided` holds (axis, what, size) of everything.

    A size that one refusal suggests meets every rule of its axis, so that no other refuses it.
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
        raise impossible(f"mesh.{axis}", devices, f"must {must}: {_nearest(mesh, axis, parts.values(), leaves)} "
                         "would do")  # fmt: skip
    at_once = math.prod(getattr(mesh, axis) for axis in _BY_LEAVES)
    for size, count in zip(batch_size.values(), leaves, strict=True):
        if count % at_once:
            axes = "·".join(f"mesh.{axis}" for axis in _BY_LEAVES if getattr(mesh, axis) > 1)
            fits = math.gcd(*leaves)
            raise impossible("training.batch_size", size, f"has {count} micro-batch{'es' * (count > 1)} of "
                             f"{micro_batch} for the {at_once} devices of {axes}: {at_once * micro_batch} sequences "
                             f"would do, or {fits} device{'s' * (fits > 1)}")  # fmt: skip


def _nearest(mesh: Mesh, axis: str, parts: Iterable[int], leaves: Sequence[int]) -> str:
    """The sizes nearest to an axis's own, at most two, that divide all `parts` and are allowed otherwise."""
    devices, common = getattr(mesh, axis), math.gcd(*parts)
    if axis in _BY_LEAVES:
        beside = math.prod(getattr(mesh, other) for other in _BY_LEAVES if other != axis)
        share = math.gcd(*leaves)
        common = math.gcd(common, share if share % beside else share // beside)
    fits = [n for n in range(1, common + 1) if common % n == 0 and (axis not in _BY_LEAVES or n & (n - 1) == 0)]
    return " or ".join(map(str, sorted(sorted(fits, key=lambda n: abs(n - devices))[:2])))
