"""The links of a chip in a simulation: when each is free, and what uses them."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from palmetto.planning.network.networks import Link

Key = tuple[str, str]
"""A network and a kind of collective, or COPIES for copies within a chip's memories."""

COPIES: Key = ("memory", "copy")
COPIES_LINK: Link = (-1, 0)
"""A link that stands for the memory's asynchronous copies."""


class Use(NamedTuple):
    """The use of links by one transfer."""

    begin: float
    end: float
    key: Key


class Wires:
    """The links of a chip. Times are in seconds from the start of the step."""

    def __init__(self) -> None:
        self._free: dict[Link, float] = {}
        self._uses: list[Use] = []
        """The uses that may not have ended yet."""

    def copy(self) -> "Wires":
        """Returns a copy, to simulate one of several branches."""
        other = Wires()
        other._free, other._uses = dict(self._free), list(self._uses)
        return other

    def become(self, other: "Wires") -> None:
        """Takes the state of another copy."""
        self._free, self._uses = other._free, other._uses

    @property
    def end(self) -> float:
        """The time at which all transfers have ended."""
        return max(self._free.values(), default=0.0)

    def take(self, links: Iterable[Link], now: float, seconds: float, key: Key) -> float:
        """Occupies links for `seconds`, from the time at which all of them are free; returns the end time."""
        links = list(links)
        begin = max([now, *(self._free.get(link, 0.0) for link in links)])
        self._free |= dict.fromkeys(links, begin + seconds)
        if seconds:
            self._uses.append(Use(begin, begin + seconds, key))
        return begin + seconds

    def between(self, start: float, end: float) -> Iterator[tuple[float, list[Key]]]:
        """Yields intervals in which the same transfers run, as their seconds and the transfers' keys, oldest first.

        Transfers that ended before `start` are forgotten, so calls must go forward in time.
        """
        self._uses = sorted(use for use in self._uses if use.end > start)
        inside = [use for use in self._uses if use.begin < end]
        times = sorted({start, end, *(min(max(t, start), end) for use in inside for t in use[:2])})
        for one, other in itertools.pairwise(times):
            yield other - one, [use.key for use in inside if use.begin <= one and use.end >= other]

    def skip(self, seconds: float, before: "Wires") -> None:
        """Skips trips of a loop that are like the last one: uses that began since `before` move by `seconds`."""
        known = set(before._uses)
        self._uses = [
            use if use in known else Use(use.begin + seconds, use.end + seconds, use.key) for use in self._uses
        ]
        for link, free in self._free.items():
            if free != before._free.get(link):
                self._free[link] = free + seconds
