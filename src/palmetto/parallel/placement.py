"""Places devices in a mesh: on TPUs by the topology of their interconnect, elsewhere in JAX's order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils

from palmetto.recipe.mesh import AXES

Devices = np.ndarray[Any, np.dtype[np.object_]]


def place(devices: Sequence[jax.Device], sizes: Mapping[str, int], elastic: bool) -> Devices:
    """Returns the mesh: an array shaped by the sizes of AXES with the first of `devices`, as many as it needs.

    On TPUs a pod is a slice if there are as many slices as pods, and the other axes follow whole dimensions of a slice
    if possible. If the run is elastic, gradients are summed by exchanges along data (collectives.py), and the devices
    along data are in `exchange_order`. On other platforms consecutive devices are adjacent along the last axes.
    """
    shape = tuple(sizes[axis] for axis in AXES)
    taken = devices[: math.prod(shape)]
    if taken[0].platform != "tpu":
        return np.array(taken).reshape(shape)
    mesh = _by_dimension(taken, shape)
    if elastic:
        along = AXES.index("data")
        first = np.moveaxis(mesh, along, 0).reshape(sizes["data"], -1)[:, 0]
        mesh = mesh.take(exchange_order([coordinates(device) for device in first]), axis=along)
    return mesh


def _by_dimension(devices: Sequence[jax.Device], shape: tuple[int, ...]) -> Devices:
    several = len({coordinates(device)[0] for device in devices}) > 1
    for split in (False, True):  # a mesh axis may have to share a dimension with another
        try:
            if several:
                within, across = (1, *shape[1:]), (shape[0], *[1] * (len(shape) - 1))
                return mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=split)
            return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=split)
        except (NotImplementedError, AssertionError, ValueError):
            continue  # JAX raises any of these if the sizes do not fit the torus; then every order is equally good
    return np.array(sorted(devices, key=coordinates)).reshape(shape)


def coordinates(device: jax.Device) -> tuple[int, ...]:
    """Returns a TPU's slice number, followed by its coordinates in the slice."""
    inside: Sequence[int] = device.coords
    return (getattr(device, "slice_index", 0), *inside)


def exchange_order(places: Sequence[tuple[int, ...]]) -> list[int]:
    """Returns the order of devices at `places` in which the tree's largest exchanges cover the shortest distances.

    The first exchange, between devices half the axis apart, carries half of the gradient; the next, a quarter apart,
    carries a quarter. So the highest bit of a device's number becomes a step to a neighbour in one dimension, the next
    bit a step in another dimension, then follow distances of two, and so on. The order is unchanged if the sizes of the
    dimensions are not powers of two.
    """
    spans = [sorted({place[d] for place in places}) for d in range(len(places[0]))]
    spans = [span for span in spans if len(span) > 1]
    along = [d for d in range(len(places[0])) if len({place[d] for place in places}) > 1]
    bits = [len(span).bit_length() - 1 for span in spans]
    if 1 << sum(bits) != len(places) or any(1 << n != len(span) for n, span in zip(bits, spans, strict=True)):
        return list(range(len(places)))
    turns = [(bit, d) for bit in range(max(bits, default=0)) for d in range(len(spans)) if bit < bits[d]]
    at = {tuple(place[d] for d in along): number for number, place in enumerate(places)}
    order = []
    for number in range(len(places)):
        place = [0] * len(spans)
        for depth, (bit, d) in enumerate(turns):
            place[d] |= (number >> (len(turns) - 1 - depth) & 1) << bit
        order.append(at[tuple(span[index] for span, index in zip(spans, place, strict=True))])
    return order
