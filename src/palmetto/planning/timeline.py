"""A program's schedule played through: when each instruction runs, what it waits for, what that adds up to.

Instructions run one after the other as the compiler scheduled them. Asynchronous ones (those with a start and a done)
use their links meanwhile; what of their time the instructions in between do not cover, the done waits for. Trips of a
loop that are alike are played until one takes as long as the one before; the others are taken for its like.
"""

from dataclasses import dataclass, field

from palmetto.planning.network.chips import Chip
from palmetto.planning.network.networks import Leg, Networks
from palmetto.planning.network.wires import COPIES, COPIES_LINK, Key, Wires
from palmetto.planning.program.collectives import collective, rendezvous
from palmetto.planning.program.hlo import Computation, Instruction, Program
from palmetto.planning.program.integers import Called, Frame, Unknown
from palmetto.planning.program.loops import Loops
from palmetto.planning.program.work import FREE, Worker


@dataclass
class Traffic:
    """What went over one network by one kind of collective."""

    count: float = 0
    sent: float = 0
    """Bytes that left a chip."""
    seconds: float = 0
    """Of each by itself; those on different links may run at once."""
    waited: float = 0
    """Seconds in which the chip did nothing else, of several that ran then those of the first to begin."""


@dataclass
class Busy:
    """A network's time, whatever runs on it and how much at once."""

    seconds: float = 0
    hidden: float = 0
    """Of these, under instructions that compute or move memory."""


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
    traffic: dict[Key, Traffic] = field(default_factory=dict)
    """By network and kind of collective."""
    networks: dict[str, Busy] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    """Loops that do not say how often they run, counted once."""
    uncounted: set[str] = field(default_factory=set)
    """Custom calls whose FLOPs are not known, counted as none."""

    def add(self, other: "Totals", times: float = 1) -> None:
        """Adds another stretch, so many times."""
        for name in ("flops", "bytes", "busy", "bound_by_memory", "copies_waited"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))
        for key, theirs in other.traffic.items():
            ours = self.traffic.setdefault(key, Traffic())
            for name in ("count", "sent", "seconds", "waited"):
                setattr(ours, name, getattr(ours, name) + times * getattr(theirs, name))
        for network, time in other.networks.items():
            mine = self.networks.setdefault(network, Busy())
            mine.seconds += times * time.seconds
            mine.hidden += times * time.hidden
        self.endless |= other.endless

    def spend(self, start: float, end: float, wires: Wires, *, busy: bool) -> None:
        """Time in which the chip is busy, or waits for what runs on the wires."""
        for seconds, keys in wires.between(start, end):
            for network in {network for network, _ in keys} - {COPIES[0]}:
                time = self.networks.setdefault(network, Busy())
                time.seconds += seconds
                time.hidden += seconds if busy else 0.0
            if keys and not busy:
                self._waited(keys[0], seconds)

    def _waited(self, key: Key, seconds: float) -> None:
        if key == COPIES:
            self.copies_waited += seconds
        else:
            self.traffic.setdefault(key, Traffic()).waited += seconds


class Timeline:
    """Plays a program on a chip."""

    def __init__(self, program: Program, chip: Chip, networks: Networks, *, cycles: bool, pods: bool = True) -> None:
        """cycles: believe the compiler's estimates for matrix products where it states them. pods: count the network
        between slices."""
        self.program, self.chip, self.networks, self.cycles, self.pods = program, chip, networks, cycles, pods
        self.worker, self._loops = Worker(program), Loops(program)

    def play(self) -> tuple[float, Totals]:
        """Seconds of the whole program, and what they are made of."""
        wires = Wires()
        seconds, totals = self.run(self.program.computations[self.program.entry], Frame(), 0.0, wires)
        end = max(seconds, wires.end)
        totals.spend(seconds, end, wires, busy=False)
        totals.uncounted |= self.worker.uncounted
        return end, totals

    def run(self, computation: Computation, given: Frame, now: float, wires: Wires) -> tuple[float, Totals]:
        """A computation from `now` on; returns when it is done. The wires are as it leaves them then."""
        stretch = _Stretch(self, computation, given, now, wires)
        for instruction in computation:
            stretch.take(instruction)
        return stretch.now, stretch.totals

    def loop(
        self, caller: Computation, loop: Instruction, given: Frame, now: float, wires: Wires
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
                start, as_it_was = now, wires.copy()
                now, trip = self.run(body, frame, now, wires)
                totals.add(trip)
                left -= 1
                if left and abs(now - start - before) <= 1e-9 * before:
                    totals.add(trip, left)
                    ahead, left = left * (now - start), 0
                    now += ahead
                    wires.skip(ahead, as_it_was)
                before = now - start
        return now, totals


class _Stretch:
    """One computation while it is played."""

    def __init__(self, timeline: Timeline, computation: Computation, given: Frame, now: float, wires: Wires) -> None:
        self._of, self._computation, self._given, self.now, self._wires = timeline, computation, given, now, wires
        self.totals = Totals()
        self._flights: dict[str, float] = {}
        """Until when what is asynchronous is under way, by the name of what began it."""

    def take(self, instruction: Instruction) -> None:
        """The next instruction of the schedule."""
        opcode = instruction.opcode
        if opcode in FREE:
            return
        if opcode == "while":
            self._join(self._of.loop(self._computation, instruction, self._given, self.now, self._wires))
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
            wires = self._wires.copy()
            given = self._given_to(instruction)
            plays.append((*self._of.run(self._of.program.computations[name], given, self.now, wires), wires))
        now, totals, wires = max(plays, key=lambda play: play[0])
        self._wires.become(wires)
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
        # What began in another computation runs on beside everything there.
        until = self._flights.pop(landing, self.now)
        self._go_on(max(self.now, until), busy=False)

    def _go_on(self, until: float, *, busy: bool) -> None:
        self.totals.spend(self.now, until, self._wires, busy=busy)
        self.now = until

    def _copy(self, instruction: Instruction) -> None:
        moved = self._of.worker.work(self._computation, instruction).bytes
        seconds = moved / self._of.chip.memory_bandwidth
        self._flights[instruction.name] = self._wires.take([COPIES_LINK], self.now, seconds, COPIES)
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
        until = self._send(kind, legs)
        if instruction.opcode == "send":
            name = rendezvous(instruction) or name
        self._flights[name] = until
        asynchronous = instruction.opcode.endswith("-start") or name.startswith("async-collective-start")
        if not asynchronous and instruction.opcode != "send":
            self._wait(name)

    def _send(self, kind: str, legs: tuple[Leg, ...]) -> float:
        """Occupies the links, one leg after the other; returns when the last is done."""
        until = self.now
        for leg in reversed(legs):
            key = (leg.network, kind)
            until = self._wires.take(leg.links, until, leg.seconds, key)
            traffic = self.totals.traffic.setdefault(key, Traffic())
            traffic.count += 1
            traffic.sent += leg.sent
            traffic.seconds += leg.seconds
        return until

    def _compute(self, instruction: Instruction) -> None:
        work, chip = self._of.worker.work(self._computation, instruction), self._of.chip
        units = work.flops / chip.flops
        if self._of.cycles and chip.clock:
            units = max(units, work.cycles / chip.clock)
        memory = work.bytes / chip.memory_bandwidth
        self._go_on(self.now + max(units, memory), busy=True)
        self.totals.flops += work.flops
        self.totals.bytes += work.bytes
        self.totals.busy += max(units, memory)
        self.totals.bound_by_memory += memory if memory > units else 0.0
