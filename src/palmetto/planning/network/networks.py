"""The time that a collective takes on its links: rings and tori within a slice, switches between slices.

All-gathers, reduce-scatters and all-reduces use a ring in both directions at full speed, or, if the compiler notes it,
all dimensions of the torus that their devices span at once (How to Scale Your Model, part 3). A collective over several
networks uses one after another: over two slices, each chip exchanges its part with the chips of the same place, and the
result within its slice. Latency is ignored.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from palmetto.planning.network.topology import Dimension, Topology
from palmetto.planning.program.collectives import Collective
from palmetto.planning.program.groups import Groups

Coordinates = tuple[int, ...]
"""A device's slice, then its place in the slice."""

_IN_PARTS = ("all-gather", "reduce-scatter", "all-reduce")
"""Kinds of which, on an outer network, a chip handles only its part of the data of the inner networks."""

Link = tuple[int, int]
"""The number of a dimension and a direction along it: 1 up, −1 down, 0 through a switch."""


class Leg(NamedTuple):
    """The part of a collective on one network."""

    network: str
    sent: int
    """The bytes that leave a chip."""
    seconds: float
    links: frozenset[Link]
    """The links that are busy."""


class _Span(NamedTuple):
    """The part of one dimension that a group of devices spans."""

    number: int
    dimension: Dimension
    size: int
    """The number of devices along it."""
    stride: int
    """The distance from one device to the next. The groups of the devices in between share the links."""

    @property
    def is_ring(self) -> bool:
        return self.dimension.wiring == "ring" and self.size * self.stride == self.dimension.size

    @property
    def links(self) -> frozenset[Link]:
        """The links of the span."""
        return frozenset((self.number, way) for way in ((0,) if self.dimension.wiring == "switch" else (1, -1)))

    @property
    def bandwidth(self) -> float:
        """The bytes/s that each chip can receive."""
        links = 2 if self.is_ring and self.size > 2 else 1
        return self.dimension.bandwidth * links / self.stride


class Networks:
    """The links of a topology, and the places of a program's devices in it."""

    def __init__(self, topology: Topology, devices: Sequence[Coordinates]) -> None:
        """devices: their coordinates, in the order of their numbers in the program."""
        self.dimensions, self.devices = topology.dimensions, devices
        self.legs = cache(self._legs)

    def _legs(self, collective: Collective) -> tuple[Leg, ...]:
        """Returns the legs of a collective, slowest network first, or none if it has one device only."""
        if not collective.groups:
            pods = _Span(0, self.dimensions[0], self.dimensions[0].size, 1)
            if collective.kind == "collective-permute":
                seconds = collective.bytes / pods.bandwidth
                return (Leg(pods.dimension.network, collective.bytes, seconds, pods.links),)
            return (_leg(collective, collective.bytes, [pods]),)
        if collective.kind == "collective-permute":
            return self._permute(collective.bytes, collective.groups)
        # All groups run at the same time, and the collective takes as long as the slowest.
        ways = (_in_turn(collective, spans) for spans in dict.fromkeys(map(self._spans, collective.groups)))
        return max(ways, key=lambda legs: sum(leg.seconds for leg in legs))

    def _spans(self, group: Sequence[int]) -> tuple[_Span, ...]:
        """Returns the dimensions along which the devices of a group differ."""
        spans = []
        for number, dimension in enumerate(self.dimensions):
            places = sorted({self.devices[device][number] for device in group})
            if len(places) > 1:
                stride = min(b - a for a, b in itertools.pairwise(places))
                spans.append(_Span(number, dimension, len(places), stride))
        if math.prod(span.size for span in spans) != len(group):  # not a box: count only the links of its longest side
            longest = max(spans, key=lambda span: span.size)
            spans = [longest._replace(size=len(group))]
        return tuple(spans)

    def _permute(self, size: int, pairs: Groups) -> tuple[Leg, ...]:
        """Returns the legs of a permutation. Each message is routed along one dimension after another, on the shorter
        way around a ring, and shares the bandwidth of its links."""
        load: Counter[tuple[int, Coordinates, int]] = Counter()  # halves of messages by (dimension, chip, way)
        messages: Counter[str] = Counter()
        for source, target in pairs:
            crossed = self._route(self.devices[source], self.devices[target], load)
            if crossed:
                messages[crossed] += 1
        seconds: dict[str, float] = {}
        busy: dict[str, set[Link]] = {}
        for (number, _, way), halves in load.items():
            dimension = self.dimensions[number]
            took = size * halves / 2 / dimension.bandwidth
            seconds[dimension.network] = max(took, seconds.get(dimension.network, 0))
            busy.setdefault(dimension.network, set()).add((number, way))
        # A program for several slices may name the devices of one only; all slices do the same.
        slices = len({self.devices[source][0] for source, _ in pairs})
        chips = len(self.devices) * slices // self.dimensions[0].size
        sent = {network: size * count // chips for network, count in messages.items()}
        return tuple(
            Leg(network, sent.get(network, 0), took, frozenset(busy[network])) for network, took in seconds.items()
        )

    def _route(self, at: Coordinates, to: Coordinates, load: Counter[tuple[int, Coordinates, int]]) -> str | None:
        """Adds a message to the load of the links on its way; returns the slowest network that it crosses, if any."""
        crossed = None
        for number, dimension in enumerate(self.dimensions):
            apart = to[number] - at[number]
            if not apart:
                continue
            crossed = crossed or dimension.network
            if dimension.wiring == "switch":
                load[number, at, 0] += 2
                at = _moved(at, number, to[number])
                continue
            ways = _ways(apart, dimension)
            for way, hops in ways:
                for hop in range(hops):
                    chip = _moved(at, number, (at[number] + way * hop) % dimension.size)
                    load[number, chip, way] += 2 // len(ways)
            at = _moved(at, number, to[number])
        return crossed


def _ways(apart: int, dimension: Dimension) -> list[tuple[int, int]]:
    """Returns the shortest ways as (direction, hops). Of two equally short ways each carries half of the message."""
    direct = (1 if apart > 0 else -1, abs(apart))
    around = (-direct[0], dimension.size - direct[1])
    if dimension.wiring == "line" or direct[1] < around[1]:
        return [direct]
    return [direct, around] if direct[1] == around[1] else [around]


def _moved(at: Coordinates, number: int, place: int) -> Coordinates:
    return (*at[:number], place, *at[number + 1 :])


def _in_turn(collective: Collective, spans: Sequence[_Span]) -> tuple[Leg, ...]:
    """Returns the legs of a collective over several networks. On an outer network a chip handles only its part."""
    legs = []
    networks = list(dict.fromkeys(span.dimension.network for span in spans))
    for number, network in enumerate(networks):
        inner = [span for span in spans if span.dimension.network in networks[number + 1 :]]
        parts = math.prod(span.size for span in inner) if collective.kind in _IN_PARTS else 1
        part = -(-collective.bytes // parts)
        legs.append(_leg(collective, part, [span for span in spans if span.dimension.network == network]))
    return tuple(legs)


def _leg(collective: Collective, size: int, spans: Sequence[_Span]) -> Leg:
    devices = math.prod(span.size for span in spans)
    sent = size * (devices - 1) // devices * (2 if collective.kind == "all-reduce" else 1)
    if collective.kind == "collective-broadcast":  # each chip forwards what it receives
        sent = size
    if collective.kind.endswith("all-to-all"):
        seconds = max(size * _crossing(span) / (span.dimension.bandwidth / span.stride) for span in spans)
    else:
        bandwidths = [span.bandwidth for span in spans]
        seconds = sent / (sum(bandwidths) if collective.every_way else max(bandwidths))
    return Leg(spans[0].dimension.network, sent, seconds, frozenset[Link]().union(*(span.links for span in spans)))


def _crossing(span: _Span) -> float:
    """Returns the share of a chip's data that each of its links carries in an all-to-all."""
    if span.dimension.wiring == "switch":
        return (span.size - 1) / span.size
    return span.size / 8 if span.is_ring else span.size / 4
