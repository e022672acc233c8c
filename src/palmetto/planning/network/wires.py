"""Links while a schedule is played: until when each is taken, and what the chip does while they are busy."""

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from palmetto.planning.network.networks import Link

Key = tuple[str, str]
"""Network and kind of collective; of copies within a chip's memories COPIES."""

COPIES: Key = ("memory", "copy")
COPIES_LINK: Link = (-1, 0)
"""Stands among the links for the memory's own asynchronous copies."""


class Use(NamedTuple):
    """Links taken for one thing."""

    begin: float
    end: float
    key: Key


class Wires:
    """All links of a chip; times are seconds from the step's start."""

    def __init__(self) -> None:
        self._free: dict[Link, float] = {}
        self._uses: list[Use] = []
        """Those that may not be over."""

    def copy(self) -> "Wires":
        """To play something on that may not happen."""
        other = Wires()
        other._free, other._uses = dict(self._free), list(self._uses)
        return other

    def become(self, other: "Wires") -> None:
        """Takes over how another copy was left."""
        self._free, self._uses = other._free, other._uses

    @property
    def end(self) -> float:
        """When all that was begun is done."""
        return max(self._free.values(), default=0.0)

    def take(self, links: Iterable[Link], now: float, seconds: float, key: Key) -> float:
        """Takes links as soon as all of them are free; returns until when."""
        links = list(links)
        begin = max([now, *(self._free.get(link, 0.0) for link in links)])
        self._free |= dict.fromkeys(links, begin + seconds)
        if seconds:
            self._uses.append(Use(begin, begin + seconds, key))
        return begin + seconds

    def between(self, start: float, end: float) -> Iterator[tuple[float, list[Key]]]:
        """Stretches of time in which the same links are busy: seconds, and with what, begun first first.

        Time goes forward: what was over by `start` is forgotten.
        """
        self._uses = sorted(use for use in self._uses if use.end > start)
        inside = [use for use in self._uses if use.begin < end]
        times = sorted({start, end, *(min(max(t, start), end) for use in inside for t in use[:2])})
        for one, other in itertools.pairwise(times):
            yield other - one, [use.key for use in inside if use.begin <= one and use.end >= other]

    def skip(self, seconds: float, before: "Wires") -> None:
        """Goes ahead by trips of a loop that are like the last one: what that has taken since `before` is so much
        later."""
        known = set(before._uses)
        self._uses = [
            use if use in known else Use(use.begin + seconds, use.end + seconds, use.key) for use in self._uses
        ]
        for link, free in self._free.items():
            if free != before._free.get(link):
                self._free[link] = free + seconds
