"""Tests the placement of devices in a mesh: each occurs once, and on TPUs axes follow the interconnect."""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest

from palmetto.parallel.compiler import compiler_options
from palmetto.parallel.placement import coordinates, exchange_order, place
from palmetto.recipe.mesh import AXES


@dataclass(frozen=True)
class Chip:
    """Describes the attributes of a TPU that determine its place."""

    slice_index: int
    coords: tuple[int, ...]
    core_on_chip: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v4"
    process_index: int = field(default=0, compare=False)


def slices(count: int, x: int, y: int, z: int) -> list[Any]:
    places = [(i, j, k) for k in range(z) for j in range(y) for i in range(x)]
    return [Chip(number, place) for number in range(count) for place in places]


def sizes(**axes: int) -> dict[str, int]:
    return {axis: axes.get(axis, 1) for axis in AXES}


def hops(a: Any, b: Any, side: int = 4) -> int:
    """Returns the distance between two chips of a slice whose sides are rings."""
    return sum(min(abs(i - j), side - abs(i - j)) for i, j in zip(a.coords, b.coords, strict=True))


@pytest.mark.parametrize("elastic", [False, True])
@pytest.mark.parametrize(
    ("count", "mesh"),
    [
        (1, {"data": 16, "model": 4}),
        (2, {"pod": 2, "data": 16, "model": 4}),
        (2, {"pod": 2, "data": 4, "expert": 4, "model": 4}),
        (2, {"data": 128}),  # across both slices
        (1, {"data": 2, "model": 32}),
    ],
)
def test_every_tpu_occurs_once(count: int, mesh: dict[str, int], elastic: bool) -> None:
    chips = slices(count, 4, 4, 4)
    placed = place(chips, sizes(**mesh), elastic)
    assert placed.shape == tuple(sizes(**mesh).values())
    assert sorted(map(coordinates, placed.flat)) == sorted(map(coordinates, chips))
    if mesh.get("pod"):
        assert all(len({chip.slice_index for chip in pod.flat}) == 1 for pod in placed)


def test_axes_follow_links_and_the_largest_exchange_joins_neighbours() -> None:
    chips = slices(2, 4, 4, 4)
    for elastic in (False, True):
        placed = place(chips, sizes(pod=2, data=16, model=4), elastic).reshape(2, 16, 4)
        assert all(hops(row[i], row[i - 1]) == 1 for pod in placed for row in pod for i in range(4)), "a ring of model"
    assert all(hops(placed[0, p, 0], placed[0, p ^ 8, 0]) == 1 for p in range(16))
    assert all(hops(placed[0, p, 0], placed[0, p ^ 4, 0]) == 1 for p in range(16))


def test_other_platforms_keep_the_order_of_devices() -> None:
    placed = place(jax.devices()[:8], sizes(pod=2, data=2, model=2), elastic=True)
    assert list(placed.flat) == jax.devices()[:8]
    assert list(place(jax.devices(), sizes(data=2), elastic=True).flat) == jax.devices()[:2]


def test_sizes_other_than_powers_of_two_keep_the_order() -> None:
    assert exchange_order([(0, x, 0, 0) for x in range(12)]) == list(range(12))
    assert exchange_order([(0, 0, 0, 0)]) == [0]
    assert np.array_equal(exchange_order([(0, x) for x in range(4)]), [0, 2, 1, 3])


def test_only_the_tpu_compiler_gets_options_for_overlap() -> None:
    options = compiler_options("tpu")
    assert options is not None
    assert "xla_tpu_enable_async_collective_fusion" in options
    assert compiler_options("cpu") is compiler_options("gpu") is None
