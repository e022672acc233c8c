"""Which chip of a topology stands where in a recipe's mesh."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils

from palmetto.planning.networks import Coordinates
from palmetto.planning.topology import Topology
from palmetto.recipe.mesh import AXES

Devices = np.ndarray[Any, np.dtype[np.object_]]


def place(devices: Sequence[jax.Device], topology: Topology, sizes: dict[str, int], elastic: bool) -> list[jax.Device]:
    """Devices in the order of the mesh, whose axes are AXES: the inner ones along whole dimensions of a slice.

    elastic: gradients are summed by exchanges along data (collectives.py), for which its devices are put in
    `exchange_order`.
    """
    shape = tuple(sizes[axis] for axis in AXES)
    mesh = _by_dimension(devices, topology, shape) if not topology.is_gpu else np.array(devices).reshape(shape)
    if elastic:
        along = AXES.index("data")
        first = np.moveaxis(mesh, along, 0).reshape(sizes["data"], -1)[:, 0]
        mesh = mesh.take(exchange_order([coordinates(device, topology) for device in first]), axis=along)
    return list(mesh.flat)


def _by_dimension(devices: Sequence[jax.Device], topology: Topology, shape: tuple[int, ...]) -> Devices:
    pods, inner = shape[0], (1, *shape[1:])
    make = mesh_utils.create_device_mesh
    for split in (False, True):  # a mesh axis may have to share a dimension with another
        try:
            if topology.slices == 1:
                return make(shape, devices, contiguous_submeshes=False, allow_split_physical_axes=split)
            return mesh_utils.create_hybrid_device_mesh(
                inner, (pods, *[1] * (len(shape) - 1)), devices, allow_split_physical_axes=split
            )
        except (NotImplementedError, AssertionError, ValueError):
            continue
    return np.array(sorted(devices, key=lambda device: coordinates(device, topology))).reshape(shape)


def coordinates(device: jax.Device, topology: Topology) -> Coordinates:
    """A device's slice and its place there; GPUs are told by their number, node after node."""
    if topology.is_gpu:
        slice_, number = divmod(device.id, topology.chips // topology.slices)
        return (slice_, *divmod(number, topology.shape[-1]))
    inside: Sequence[int] = device.coords
    return (getattr(device, "slice_index", 0), *inside[: len(topology.shape)])


def exchange_order(places: Sequence[Coordinates]) -> list[int]:
    """The order in which devices at `places` make the tree's exchanges short where they carry much.

    The first exchange, between devices half the axis apart, carries half of the gradient, the next, a quarter apart, a
    quarter. So the highest bit of a device's number becomes a step to a neighbour in one dimension, the next one in
    another, then two steps, …. Left as they are where the dimensions' sizes are not powers of two.
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
