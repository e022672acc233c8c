"""A program's schedule played through: when each instruction runs, what it waits for, what that adds up to.

Instructions run one after the other as the compiler scheduled them. Asynchronous ones (those with a start and a done)
use their links meanwhile; what of their time the instructions in between do not cover, the done waits for. Trips of a
loop that are alike are played until one takes as long as the one before; the others are taken for its like.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from palmetto.planning.chips import Chip
from palmetto.planning.collectives import collective, rendezvous
from palmetto.planning.hlo import Computation, Instruction, Program
from palmetto.planning.integers import Called, Frame, Unknown
from palmetto.planning.loops import Loops
from palmetto.planning.networks import Leg, Link, Networks
from palmetto.planning.work import FREE, Worker

COPIES: Link = (-1, 0)
"""Stands among the links for the memory's own asynchronous copies."""


@dataclass
class Traffic:
    """What went over one network by one kind of collective."""

    count: float = 0
    sent: float = 0
    """Bytes that left a chip."""
    seconds: float = 0
    waited: float = 0
    """Seconds that nothing else was done."""


@dataclass
class Totals:
    """Of a stretch of the schedule, on one chip."""

    flops: float = 0
    bytes: float = 0
    busy: float = 0
    """Seconds of instructions that compute or move memory."""
    bound_by_memory: float = 0
    """Of these, the ones that wait for memory rather than for the matrix units."""
    copies_waited: float = 0
    """Seconds waited for asynchronous copies within the chip's memories."""
    traffic: dict[tuple[str, str], Traffic] = field(default_factory=dict)
    """By network and kind of collective."""
    endless: set[str] = field(default_factory=set)
    """Loops that do not say how often they run, counted once."""

    def add(self, other: "Totals", times: float = 1) -> None:
        """Adds another stretch, so many times."""
        for name in ("flops", "bytes", "busy", "bound_by_memory", "copies_waited"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for key, theirs in other.traffic.items():
            ours = self.traffic.setdefault(key, Traffic())
            for name in ("count", "sent", "seconds", "waited"):
                setattr(ours, name, getattr(ours, name) + times * getattr(theirs, name))
        self.endless |= other.endless


class Timeline:
    """Plays a program on a chip."""

    def __init__(self, program: Program, chip: Chip, networks: Networks, *, cycles: bool, pods: bool = True) -> None:
        """cycles: believe the compiler's estimates for matrix products where it states them. pods: count the network
        between slices."""
        self.program, self.chip, self.networks, self.cycles, self.pods = program, chip, networks, cycles, pods
        self.worker, self._loops = Worker(program), Loops(program)

    def play(self) -> tuple[float, Totals]:
        """Seconds of the whole program, and what they are made of."""
        links: dict[Link, float] = {}
        seconds, totals = self.run(self.program.computations[self.program.entry], Frame(), 0.0, links)
        return max([seconds, *links.values()]), totals

    def run(self, computation: Computation, given: Frame, now: float, links: dict[Link, float]) -> tuple[float, Totals]:
        """A computation from `now` on, with `links` busy until …, which is updated; returns when it is done."""
        stretch = _Stretch(self, computation, given, now, links)
        for instruction in computation:
            stretch.take(instruction)
        return stretch.now, stretch.totals

    def loop(
        self, caller: Computation, loop: Instruction, given: Frame, now: float, links: dict[Link, float]
    ) -> tuple[float, Totals]:
        """All trips of a loop, likewise."""
        totals, body = Totals(), self.program.called(loop, "body")
        try:
            kinds = self._loops.trips(caller, loop, given)
        except Unknown:
            kinds = [(Frame(), 1)]
            totals.endless.add(loop.name)
        for frame, left in kinds:
            before = -1.0
            while left:
                start, free = now, dict(links)
                now, trip = self.run(body, frame, now, links)
                totals.add(trip)
                left -= 1
                if left and abs(now - start - before) <= 1e-9 * before:
                    totals.add(trip, left)
                    ahead, left = left * (now - start), 0
                    now += ahead
                    for link in links:
                        links[link] += ahead if links[link] != free.get(link) else 0
                before = now - start
        return now, totals


class _Flight(NamedTuple):
    """Something asynchronous under way."""

    until: float
    key: tuple[str, str] | None
    """Network and kind; None for a copy."""


class _Stretch:
    """One computation while it is played."""

    def __init__(
        self, timeline: Timeline, computation: Computation, given: Frame, now: float, links: dict[Link, float]
    ) -> None:
        self._of, self._computation, self._given, self.now, self._links = timeline, computation, given, now, links
        self.totals = Totals()
        self._flights: dict[str, _Flight] = {}

    def take(self, instruction: Instruction) -> None:
        """The next instruction of the schedule."""
        opcode = instruction.opcode
        if opcode in FREE:
            return
        if opcode == "while":
            self._join(self._of.loop(self._computation, instruction, self._given, self.now, self._links))
        elif opcode in ("call", "conditional"):
            self._enter(instruction)
        elif landing := self._landing(instruction):
            self._wait(landing)
        elif opcode.endswith("-update") or opcode == "recv":
            return
        elif opcode in ("copy-start", "slice-start", "dynamic-slice-start"):
            self._copy(instruction)
        else:
            self._compute_or_send(instruction)

    def _join(self, played: tuple[float, Totals]) -> None:
        self.now, totals = played
        self.totals.add(totals)

    def _enter(self, instruction: Instruction) -> None:
        """A call, or the longest branch of a conditional."""
        names = [name for names in instruction.called.values() for name in names]
        plays = []
        for name in names:
            links = dict(self._links)
            given = self._given_to(instruction)
            plays.append((*self._of.run(self._of.program.computations[name], given, self.now, links), links))
        now, totals, links = max(plays, key=lambda play: play[0])
        self._links |= links
        self._join((now, totals))

    def _given_to(self, instruction: Instruction) -> Frame:
        if instruction.opcode == "conditional":
            return Frame()
        return Called(self._of.program, self._computation, instruction, self._given)

    def _landing(self, instruction: Instruction) -> str | None:
        """Where an instruction waits for something under way, the key of its flight."""
        name = instruction.name
        if instruction.opcode == "recv-done":
            return rendezvous(self._computation[instruction.operands[0]]) or name
        if name.startswith("async-collective-done"):
            return name.replace("-done", "-start")
        if not instruction.opcode.endswith("-done"):
            return None
        start = self._computation[instruction.operands[0]]
        while start.opcode.endswith("-update"):
            start = self._computation[start.operands[0]]
        return start.name

    def _wait(self, landing: str) -> None:
        flight = self._flights.pop(landing, None)
        if flight is None:  # it began in another computation, and runs on beside everything there
            return
        waited = max(0.0, flight.until - self.now)
        self.now += waited
        if flight.key is None:
            self.totals.copies_waited += waited
        else:
            self.totals.traffic[flight.key].waited += waited

    def _copy(self, instruction: Instruction) -> None:
        moved = self._of.worker.work(self._computation, instruction).bytes
        until = max(self.now, self._links.get(COPIES, 0)) + moved / self._of.chip.memory_bandwidth
        self._links[COPIES] = until
        self._flights[instruction.name] = _Flight(until, None)
        self.totals.bytes += moved

    def _compute_or_send(self, instruction: Instruction) -> None:
        name, carries = instruction.name, "async_collective_fusion" in "".join(instruction.called.get("calls", ()))
        devices = len(self._of.networks.devices)
        moved = None if carries else collective(self._of.program, self._computation, instruction, devices)
        if moved is None:
            self._compute(instruction)
            return
        kind, legs = moved.kind, self._of.networks.legs(moved)
        if not self._of.pods:
            legs = tuple(leg for leg in legs if leg.network != "DCN")
        until, key = self._send(kind, legs)
        if instruction.opcode.endswith("-start") or name.startswith("async-collective-start"):
            self._flights[name] = _Flight(until, key)
        elif instruction.opcode == "send":
            self._flights[rendezvous(instruction) or name] = _Flight(until, key)
        else:
            self._flights[name] = _Flight(until, key)
            self._wait(name)

    def _send(self, kind: str, legs: tuple[Leg, ...]) -> tuple[float, tuple[str, str] | None]:
        """Occupies the links; returns when the last leg is done, and the slowest one's key."""
        until, key = self.now, None
        for leg in reversed(legs):
            begin = max([until, *(self._links.get(link, 0) for link in leg.links)])
            until = begin + leg.seconds
            self._links |= dict.fromkeys(leg.links, until)
            key = (leg.network, kind)
            traffic = self.totals.traffic.setdefault(key, Traffic())
            traffic.count += 1
            traffic.sent += leg.sent
            traffic.seconds += leg.seconds
        return until, key

    def _compute(self, instruction: Instruction) -> None:
        work, chip = self._of.worker.work(self._computation, instruction), self._of.chip
        units = work.flops / chip.flops
        if self._of.cycles and chip.clock:
            units = max(units, work.cycles / chip.clock)
        memory = work.bytes / chip.memory_bandwidth
        self.now += max(units, memory)
        self.totals.flops += work.flops
        self.totals.bytes += work.bytes
        self.totals.busy += max(units, memory)
        self.totals.bound_by_memory += memory if memory > units else 0.0
