"""Times on rings, tori and switches match sums by hand."""

import pytest

from palmetto.parallel.placement import exchange_order
from palmetto.planning.network.networks import Coordinates, Leg, Networks
from palmetto.planning.network.topology import parse
from palmetto.planning.program.collectives import Collective, Kind

LINK, POD = 50e9, 6.25e9  # bytes/s of a v4 link, of a v4 chip between pods
CUBE = parse("v4:4x4x4")
EVERYWHERE: list[Coordinates] = [(0, x, y, z) for x in range(4) for y in range(4) for z in range(4)]


def on_cube(kind: Kind, size: int, *groups: tuple[int, ...], every_way: bool = False) -> Leg:
    (leg,) = Networks(CUBE, EVERYWHERE).legs(Collective(kind, size, groups, every_way))
    return leg


def test_a_ring_uses_both_directions() -> None:
    ring = (0, 1, 2, 3)  # along z
    gather = on_cube("all-gather", 4_000_000, ring)
    assert gather.sent == 3_000_000
    assert gather.seconds == pytest.approx(3e6 / (2 * LINK))
    assert gather.links == {(3, 1), (3, -1)}
    assert on_cube("reduce-scatter", 4_000_000, ring).seconds == gather.seconds
    assert on_cube("all-reduce", 4_000_000, ring).seconds == 2 * gather.seconds
    assert on_cube("all-to-all", 4_000_000, ring).seconds == pytest.approx(4e6 * 4 / 8 / LINK)


def test_a_torus_is_used_as_a_ring_or_whole() -> None:
    plane = tuple(range(16))  # y and z
    one = on_cube("all-gather", 16_000_000, plane)
    assert one.seconds == pytest.approx(15e6 / (2 * LINK))
    assert one.links == {(2, 1), (2, -1), (3, 1), (3, -1)}
    every = on_cube("all-gather", 16_000_000, plane, every_way=True)
    assert every.seconds == pytest.approx(15e6 / (4 * LINK))


def test_groups_with_gaps_share_links() -> None:
    assert on_cube("all-gather", 4_000_000, (0, 2)).seconds == pytest.approx(2e6 / (LINK / 2))


def test_a_line_has_one_direction() -> None:
    flat = parse("v5e:4x4")
    places = [(0, x, y) for x in range(4) for y in range(4)]
    (leg,) = Networks(flat, places).legs(Collective("all-gather", 4_000_000, ((0, 1, 2, 3),)))
    assert leg.seconds == pytest.approx(3e6 / 50e9)


def shifted(by: int) -> Leg:
    """Returns an exchange of each of the 16 chips of a ring with the chip at distance `by`."""
    ring = parse("v4:4x4x16")
    places = [(0, x, y, z) for x in range(4) for y in range(4) for z in range(16)]
    pairs = tuple((device, device ^ by) for device in range(len(places)))
    (leg,) = Networks(ring, places).legs(Collective("collective-permute", 1_000_000, pairs))
    return leg


@pytest.mark.parametrize(("by", "share"), [(1, 1), (2, 2), (4, 4), (8, 4)])
def test_distant_exchanges_share_the_links_between(by: int, share: int) -> None:
    """Halfway around a ring, half of the message goes in each direction."""
    leg = shifted(by)
    assert leg.sent == 1_000_000
    assert leg.seconds == pytest.approx(share * 1e6 / LINK)


def test_a_shift_uses_one_direction() -> None:
    forward = on_cube("collective-permute", 1_000_000, (0, 1), (1, 2), (2, 3), (3, 0))
    assert forward.links == {(3, 1)}
    assert forward.seconds == pytest.approx(1e6 / LINK)


def test_pods_exchange_through_a_switch() -> None:
    two = parse("v4:4x4x4", slices=2)
    networks = Networks(two, [(slice_, *place[1:]) for slice_ in range(2) for place in EVERYWHERE])
    (leg,) = networks.legs(Collective("collective-permute", 1_000_000, ((0, 64), (64, 0))))
    assert leg.network == "DCN"
    assert leg.seconds == pytest.approx(1e6 / POD)
    (summed,) = networks.legs(Collective("all-reduce", 1_000_000, ()))
    assert summed.sent == 1_000_000
    assert summed.seconds == pytest.approx(1e6 / POD)


def test_gpus_use_nvlink_and_infiniband() -> None:
    gpus = parse("h100:16")
    networks = Networks(gpus, [(0, device // 8, device % 8) for device in range(16)])
    between, within = networks.legs(Collective("all-gather", 16_000_000, (tuple(range(16)),)))
    assert within.network == "NVLink"
    assert within.seconds == pytest.approx(14e6 / 450e9)
    assert between.network == "InfiniBand"
    assert between.seconds == pytest.approx(1e6 / 50e9)


def test_a_broadcast_forwards_everything() -> None:
    ring = (0, 1, 2, 3)
    broadcast = on_cube("collective-broadcast", 4_000_000, ring)
    assert broadcast.sent == 4_000_000
    assert broadcast.seconds == pytest.approx(4e6 / (2 * LINK))


def test_a_ragged_exchange_costs_as_much_as_a_full_one() -> None:
    ring = (0, 1, 2, 3)
    assert on_cube("ragged-all-to-all", 4_000_000, ring) == on_cube("all-to-all", 4_000_000, ring)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_slowest_of_several_groups_counts(turn: int) -> None:
    """The groups are a ring along z and four chips with gaps, in either order."""
    ring, gaps = (0, 1, 2, 3), (16, 18)
    slow = on_cube("all-gather", 4_000_000, gaps).seconds
    assert slow > on_cube("all-gather", 4_000_000, ring).seconds
    assert on_cube("all-gather", 4_000_000, *(ring, gaps)[::turn]).seconds == slow


def test_the_device_order_keeps_large_exchanges_short() -> None:
    """In halving exchanges over a 16 × 16 torus, the order keeps every pair and shortens the large exchanges."""
    torus = parse("v4:4x16x16")
    places: list[Coordinates] = [(0, 0, y, z) for y in range(16) for z in range(16)]
    order = exchange_order(places)
    assert sorted(order) == list(range(256))

    def seconds(placed: list[Coordinates]) -> float:
        networks, total, distance = Networks(torus, placed), 0.0, 128
        while distance:
            pairs = tuple((device, device ^ distance) for device in range(256))
            size = 256 * 1024 * distance // 128
            total += sum(leg.seconds for leg in networks.legs(Collective("collective-permute", size, pairs)))
            distance //= 2
        return total

    assert seconds([places[number] for number in order]) < seconds(places) / 2
