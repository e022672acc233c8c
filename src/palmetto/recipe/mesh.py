"""How a run is spread over devices: the sizes of a mesh's axes."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import model_validator

from palmetto.recipe.section import Positive, Section, impossible

AXES = ("pod", "data", "stage", "expert", "sequence", "model")
"""The axes of a mesh, slowest network first."""


_BY_LEAVES = ("pod", "data", "expert")
"""The axes whose devices take leaves of the gradient's tree."""


class Mesh(Section):
    """Devices by axis; their product is the number of devices. On a CPU as many virtual ones are made."""

    pod: Positive = 1
    """Copies of everything, each with its share of the batch (PaLM, section 4)."""
    data: Positive = 1
    """Shares of a pod's batch."""
    stage: Positive = 1
    """Consecutive layers each, in a pipeline."""
    expert: Positive = 1
    """Shares of each layer's experts, and of the batch for everything else."""
    sequence: Positive = 1
    """Shares of each sequence's positions."""
    model: Positive = 1
    """Shares of each layer's heads and feed-forward ("tensor parallelism")."""
    zero: Literal[0, 1, 2, 3] = 3
    """What of a model is spread over `data` as well (ZeRO, arXiv 1910.02054): 0 nothing; 1 the optimizer state; 2 also
    the gradients; 3 also the parameters, gathered a layer at a time (fully sharded data parallelism)."""
    schedule: Literal["gpipe", "1f1b"] = "1f1b"
    """The order of micro-batches in a pipeline (arXiv 1811.06965; 1806.03377)."""

    @model_validator(mode="after")
    def _check(self) -> "Mesh":
        for axis in _BY_LEAVES:
            size = getattr(self, axis)
            if size & (size - 1):
                below = 1 << (size.bit_length() - 1)
                raise impossible(f"mesh.{axis}", size, f"must be a power of two, as the gradient's tree needs: {below} "
                                 f"or {2 * below} would do")  # fmt: skip
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """Devices by axis, in the order of AXES."""
        return {axis: getattr(self, axis) for axis in AXES}

    @property
    def devices(self) -> int:
        """Devices in all."""
        product = 1
        for size in self.sizes.values():
            product *= size
        return product


def check_mesh(
    mesh: Mesh, divided: Sequence[tuple[str, str, int]], batch_size: Mapping[int, int], micro_batch: int
) -> None:
    """UserError where an axis does not divide what it must: `divided` holds (axis, what, size) of everything."""
    for axis, what, size in divided:
        devices = getattr(mesh, axis)
        if size % devices:
            fits = [n for n in range(1, size + 1) if size % n == 0 and (axis not in _BY_LEAVES or n & (n - 1) == 0)]
            near = sorted(sorted(fits, key=lambda n: abs(n - devices))[:2])
            raise impossible(f"mesh.{axis}", devices, f"must divide {what} ({size}): "
                             f"{' or '.join(map(str, near))} would do")  # fmt: skip
    at_once = mesh.pod * mesh.data * mesh.expert
    for size in batch_size.values():
        leaves = size // micro_batch
        if leaves % at_once:
            axes = "·".join(f"mesh.{axis}" for axis in _BY_LEAVES if getattr(mesh, axis) > 1)
            raise impossible("training.batch_size", size, f"has {leaves} micro-batches of {micro_batch} for the "
                             f"{at_once} devices of {axes}: {at_once * micro_batch} sequences would do, or "
                             f"{leaves} devices")  # fmt: skip
