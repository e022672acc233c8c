"""Topologies: the chips that a program runs on and the links between them, such as `v4:12x16x16` or `h100:64`."""

import difflib
import itertools
import math
import re
from typing import Literal, NamedTuple

from palmetto.errors import UserError, nearest
from palmetto.planning.network.chips import CHIPS, GPU, GPUS_IN_A_NODE, Chip

_LARGEST = {"v4": 4096, "v5p": 6144, "v5e": 256, "v6e": 256}
"""The number of chips in the largest slice that Google Cloud offers."""
_MOST_NODES = 10**6 // GPUS_IN_A_NODE - 1
_SMALL_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")


class Dimension(NamedTuple):
    """One dimension in which chips are connected."""

    size: int
    network: Literal["ICI", "NVLink", "InfiniBand", "DCN"]
    wiring: Literal["ring", "line", "switch"]
    """Links between neighbours, with ("ring") or without ("line") one from the last to the first, or a switch."""
    bandwidth: float
    """Bytes/s in one direction, of one link or of one chip at a switch."""


class Topology(NamedTuple):
    """One or more equal slices (pods) of chips."""

    name: str
    """The name as typed, without the number of slices."""
    kind: str
    """The chip, a key of `CHIPS`."""
    shape: tuple[int, ...]
    """The chips of a slice along each dimension; for GPUs (nodes, GPUs in a node)."""
    slices: int

    @property
    def chip(self) -> Chip:
        return CHIPS[self.kind]

    @property
    def is_gpu(self) -> bool:
        return isinstance(self.chip, GPU)

    @property
    def chips(self) -> int:
        """The number of chips in all slices."""
        return self.slices * math.prod(self.shape)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimension of slices, then those within a slice, in the order of a device's coordinates."""
        chip = self.chip
        pods = Dimension(self.slices, "DCN", "switch", chip.pod_bandwidth)
        if self.is_gpu:
            nodes, gpus = self.shape
            return (
                pods,
                Dimension(nodes, "InfiniBand", "switch", chip.pod_bandwidth),
                Dimension(gpus, "NVLink", "switch", chip.link_bandwidth),
            )
        return (
            pods,
            *(
                Dimension(size, "ICI", "ring" if self._wraps(size) else "line", chip.link_bandwidth)
                for size in self.shape
            ),
        )

    def _wraps(self, size: int) -> bool:
        """Returns whether a dimension has a link from its last chip to its first.

        The sides of slices made of whole cubes of 4 × 4 × 4 have optical links; in a flat slice, a side of the length
        of a whole pod has one.
        """
        return size == 16 if len(self.shape) == 2 else all(side % 4 == 0 for side in self.shape)

    def __str__(self) -> str:
        return self.name + (f" × {self.slices}" if self.slices > 1 else "")


def parse(text: str, slices: int = 1) -> Topology:
    """Reads a topology. Raises UserError, with the nearest valid one, if it does not exist."""
    kind, colon, layout = text.lower().partition(":")
    if kind not in CHIPS or not colon:
        examples = "v4:12x16x16, v5p:8x8x16, v5e:16x16, v6e:16x16, a100:64, h100:64 or h200:64"
        raise UserError(f"--topology {text}: no such chip{nearest(kind, CHIPS)}; expected one like {examples}")
    if slices < 1 or slices & (slices - 1):
        below = 1 << (max(slices, 1).bit_length() - 1)
        must = "must be a power of two, as the gradient's tree needs of mesh.pod"
        raise UserError(f"--slices {slices}: {must}: {below} or {2 * below} would do")
    if isinstance(CHIPS[kind], GPU):
        return Topology(text.lower(), kind, _gpus(text, layout), slices)
    offered = _offered(kind)
    if layout not in offered:
        nearest_slice = f"{kind}:{_nearest_shape(layout, offered)}"
        raise UserError(f"--topology {text}: {CHIPS[kind].title} has no such slice; the nearest is {nearest_slice}")
    return Topology(text.lower(), kind, _sizes(layout), slices)


def _gpus(text: str, layout: str) -> tuple[int, int]:
    count = int(layout) if re.fullmatch(r"[1-9]\d{0,5}", layout) else 0
    if count and (count < GPUS_IN_A_NODE or count % GPUS_IN_A_NODE == 0):
        gpus = min(count, GPUS_IN_A_NODE)
        return count // gpus, gpus
    fits = min(max(1, round(count / GPUS_IN_A_NODE)), _MOST_NODES) * GPUS_IN_A_NODE if count else 64
    raise UserError(f"--topology {text}: expected a number of GPUs in nodes of {GPUS_IN_A_NODE}: {fits} would do")


def _offered(kind: str) -> list[str]:
    """Returns the slices of a TPU: flat ones, or three-dimensional ones of cubes of 4 × 4 × 4, smallest side first."""
    if kind in ("v5e", "v6e"):
        return list(_FLAT)
    sides = range(4, 65, 4)
    cubes = [(a, b, c) for a in sides for b in sides for c in sides if a <= b <= c and a * b * c <= _LARGEST[kind]]
    return [*_SMALL_CUBES, *("x".join(map(str, cube)) for cube in sorted(cubes, key=math.prod))]


def _nearest_shape(layout: str, offered: list[str]) -> str:
    """Returns the offered shape whose sides have ratios nearest to 1 with those of `layout`."""
    if not re.fullmatch(r"\d+(x\d+)*", layout):
        return difflib.get_close_matches(layout, offered, 1, 0)[0]
    wanted = sorted(max(1, size) for size in _sizes(layout))

    def distance(shape: str) -> float:
        pairs = itertools.zip_longest(sorted(_sizes(shape), reverse=True), reversed(wanted), fillvalue=1)
        return sum(math.log(a / b) ** 2 for a, b in pairs)

    return min(offered, key=distance)


def _sizes(layout: str) -> tuple[int, ...]:
    return tuple(int(size) for size in layout.split("x"))
