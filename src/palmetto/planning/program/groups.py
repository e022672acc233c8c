"""Reads groups of devices in the three forms of HLO: lists, transposed iotas, and axes of a mesh."""

import math
import re
from functools import cache
from typing import Any

import numpy as np

from palmetto.planning.program.hlo import Unreadable

Groups = tuple[tuple[int, ...], ...]
"""Groups of devices, by their numbers in the program's device assignment."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]

_IOTA = re.compile(r"\[([\d,]+)\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?")
_MESH = re.compile(r"mesh\[([^\]]*)\](?:, device_ids=\((.*)\))?\s*\{(.*)\}")
_AXIS = re.compile(r"'?([\w.\-]+)'?(?::\((\d+)\)(\d+))?")


@cache
def parse_groups(text: str, devices: int) -> Groups:
    """Reads groups of devices. Raises Unreadable if the form is unknown.

    The forms are `{{0,1},{2,3}}`; `[2,4]<=[4,2]T(1,0)`, which is 0, 1, … as [4, 2], transposed, in two rows;
    `mesh['x'=2,'y'=4] {'y'}`, whose groups differ along y only (see `_by_axes`); and `{}`, one group of all devices.
    """
    if not text.strip("{}"):
        return (tuple(range(devices)),)
    if (iota := _IOTA.fullmatch(text)) and iota.group(2):
        return _rows(_counted(iota).reshape(_integers(iota.group(1))))
    if mesh := _MESH.fullmatch(text):
        return _by_axes(*mesh.groups())
    groups = re.findall(r"\{([\d,]+)\}", text)
    if not groups:
        raise Unreadable(f"groups of devices in an unknown form: {text[:60]}")
    return tuple(_integers(group) for group in groups)


def _by_axes(axes: str, order: str | None, chosen: str) -> Groups:
    """Returns the groups of devices that differ along the chosen axes only.

    order: the device at each place of the mesh, as in `2,0,1,3` or `[2,2]T(1,0)`; None means 0, 1, …. chosen: names of
    axes; `'y':(2)4` chooses a part of y, the middle axis of y as [2, 4, rest].
    """
    sizes = {name: int(size) for name, size in re.findall(r"'?([\w.\-]+)'?=(\d+)", axes)}
    names, count = list(sizes), math.prod(sizes.values())
    devices = np.arange(count)
    if order:
        iota = _IOTA.fullmatch(order)
        devices = _counted(iota).reshape(-1) if iota else np.array(_integers(order))
    apart = np.indices(tuple(sizes.values())).reshape(len(sizes), count)
    inside = []
    for name, before, size in _AXIS.findall(chosen):
        if name not in sizes:
            raise Unreadable(f"groups of devices along {name} of mesh[{axes[:60]}]")
        own = int(size or sizes[name])
        after = sizes[name] // (int(before or 1) * own)
        inside.append(apart[names.index(name)] // after % own * after)
        apart[names.index(name)] -= inside[-1]
    by_group = np.lexsort([*reversed(inside), *reversed(list(apart))])  # the last key counts first
    together = len(np.unique(np.array(inside), axis=1).T) if inside else 1
    return _rows(devices[by_group].reshape(-1, together))


def _counted(iota: re.Match[str]) -> Numbers:
    """Returns 0, 1, … in the sizes after `<=`, or else before it, transposed."""
    sizes, order = _integers(iota.group(2) or iota.group(1)), iota.group(3)
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose(_integers(order)) if order else numbers


def _integers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _rows(numbers: Numbers) -> Groups:
    return tuple(map(tuple, numbers.reshape(-1, numbers.shape[-1]).tolist()))
