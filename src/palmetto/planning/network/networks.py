"""How long a collective takes on the links that it has: rings and tori within a slice, switches between.

All-gathers, reduce-scatters and all-reduces go around a ring, both ways and at full speed, or, where the compiler notes
it, along every dimension of the torus that their devices span at once (How to Scale Your Model, part 3). Across
networks they go in turn: of a group over two slices each chip exchanges its part with its likes, and what it got within
the slice. Latency is left out.
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
"""Of a device: slice, then its place in it."""

_IN_PARTS = ("all-gather", "reduce-scatter", "all-reduce")
"""Of these a chip has but a part of what the chips of the inner networks have together."""

Link = tuple[int, int]
"""A dimension's number and a way along it: 1 up, −1 down, 0 where a switch joins all."""


class Leg(NamedTuple):
    """A collective's part on one network."""

    network: str
    sent: int
    """Bytes that leave a chip."""
    seconds: float
    links: frozenset[Link]
    """Which are busy."""


class _Span(NamedTuple):
    """What a group of devices spans of one dimension."""

    number: int
    dimension: Dimension
    size: int
    stride: int
    """From one device to the next; others lie between, whose groups share the links."""

    @property
    def is_ring(self) -> bool:
        return self.dimension.wiring == "ring" and self.size * self.stride == self.dimension.size

    @property
    def links(self) -> frozenset[Link]:
        """All that it has."""
        return frozenset((self.number, way) for way in ((0,) if self.dimension.wiring == "switch" else (1, -1)))

    @property
    def bandwidth(self) -> float:
        """Bytes/s that each chip can take in."""
        links = 2 if self.is_ring and self.size > 2 else 1
        return self.dimension.bandwidth * links / self.stride


class Networks:
    """The links of a topology, and where a program's devices lie in it."""

    def __init__(self, topology: Topology, devices: Sequence[Coordinates]) -> None:
        """`devices` in the order in which the program numbers them."""
        self.dimensions, self.devices = topology.dimensions, devices
        self.legs = cache(self._legs)

    def _legs(self, collective: Collective) -> tuple[Leg, ...]:
        """What a collective takes, slowest network first; none where no two devices meet."""
        if not collective.groups:
            pods = _Span(0, self.dimensions[0], self.dimensions[0].size, 1)
            if collective.kind == "collective-permute":
                seconds = collective.bytes / pods.bandwidth
                return (Leg(pods.dimension.network, collective.bytes, seconds, pods.links),)
            return (_leg(collective, collective.bytes, [pods]),)
        if collective.kind == "collective-permute":
            return self._permute(collective.bytes, collective.groups)
        # Groups go about it side by side; of those that lie otherwise than the rest the slowest is waited for.
        ways = (_in_turn(collective, spans) for spans in dict.fromkeys(map(self._spans, collective.groups)))
        return max(ways, key=lambda legs: sum(leg.seconds for leg in legs))

    def _spans(self, group: Sequence[int]) -> tuple[_Span, ...]:
        """The dimensions along which the devices of a group differ."""
        spans = []
        for number, dimension in enumerate(self.dimensions):
            places = sorted({self.devices[device][number] for device in group})
            if len(places) > 1:
                stride = min(b - a for a, b in itertools.pairwise(places))
                spans.append(_Span(number, dimension, len(places), stride))
        if math.prod(span.size for span in spans) != len(group):  # no box: it has the links of its longest side alone
            longest = max(spans, key=lambda span: span.size)
            spans = [longest._replace(size=len(group))]
        return tuple(spans)

    def _permute(self, size: int, pairs: Groups) -> tuple[Leg, ...]:
        """Each message goes along one dimension after the other, the shorter way around a ring; links share."""
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
        # A program for several slices names the devices of one, all of them do the same.
        slices = len({self.devices[source][0] for source, _ in pairs})
        chips = len(self.devices) * slices // self.dimensions[0].size
        sent = {network: size * count // chips for network, count in messages.items()}
        return tuple(
            Leg(network, sent.get(network, 0), took, frozenset(busy[network])) for network, took in seconds.items()
        )

    def _route(self, at: Coordinates, to: Coordinates, load: Counter[tuple[int, Coordinates, int]]) -> str | None:
        """Adds a message to the links on its way; the slowest network that it crosses, or None where it stays."""
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
    """(direction, hops); of two equally short ways both, with half of the message each."""
    direct = (1 if apart > 0 else -1, abs(apart))
    around = (-direct[0], dimension.size - direct[1])
    if dimension.wiring == "line" or direct[1] < around[1]:
        return [direct]
    return [direct, around] if direct[1] == around[1] else [around]


def _moved(at: Coordinates, number: int, place: int) -> Coordinates:
    return (*at[:number], place, *at[number + 1 :])


def _in_turn(collective: Collective, spans: Sequence[_Span]) -> tuple[Leg, ...]:
    """A collective over several networks, the outermost with the part that a chip has of the inner ones' whole."""
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
    if collective.kind == "collective-broadcast":  # each passes on what comes in
        sent = size
    if collective.kind.endswith("all-to-all"):
        seconds = max(size * _crossing(span) / (span.dimension.bandwidth / span.stride) for span in spans)
    else:
        bandwidths = [span.bandwidth for span in spans]
        seconds = sent / (sum(bandwidths) if collective.every_way else max(bandwidths))
    return Leg(spans[0].dimension.network, sent, seconds, frozenset[Link]().union(*(span.links for span in spans)))


def _crossing(span: _Span) -> float:
    """The share of what a chip holds that each of its links carries in an all-to-all."""
    if span.dimension.wiring == "switch":
        return (span.size - 1) / span.size
    return span.size / 8 if span.is_ring else span.size / 4
