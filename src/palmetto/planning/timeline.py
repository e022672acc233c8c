"""Simulates a program's schedule: when each instruction runs, what it waits for, and the totals.

Instructions run one after another, in the compiler's order. Asynchronous ones (with a start and a done) use their links
in the meantime, and the done waits for the rest of their time. Equal trips of a loop are simulated until one takes as
long as the one before; the remaining trips are assumed to take as long.
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
    """The traffic of one kind of collective on one network."""

    count: float = 0
    """The number of collectives."""
    sent: float = 0
    """The bytes that leave a chip."""
    seconds: float = 0
    """The sum of their times; collectives on different links may overlap."""
    waited: float = 0
    """The seconds in which the chip did nothing else. If several ran, the first to begin is charged."""


@dataclass
class Busy:
    """The busy time of a network, however many transfers run on it at once."""

    seconds: float = 0
    hidden: float = 0
    """The part of these seconds in which the chip computes or moves memory."""


@dataclass
class Totals:
    """The totals of a part of the schedule, on one chip."""

    flops: float = 0
    bytes: float = 0
    """The bytes read from and written to main memory."""
    busy: float = 0
    """The seconds of instructions that compute or move memory."""
    bound_by_memory: float = 0
    """The part of `busy` in instructions that are limited by memory rather than by the matrix units."""
    copies_waited: float = 0
    """The seconds of waiting for asynchronous copies within the chip's memories."""
    traffic: dict[Key, Traffic] = field(default_factory=dict)
    """The traffic of each network and kind of collective."""
    networks: dict[str, Busy] = field(default_factory=dict)
    """The busy time of each network."""
    endless: set[str] = field(default_factory=set)
    """The loops whose number of trips is unknown; they are counted once."""
    uncounted: set[str] = field(default_factory=set)
    """The custom calls whose FLOPs are unknown; they are counted as zero."""

    def add(self, other: "Totals", times: float = 1) -> None:
        """Adds the totals of another part, multiplied by `times`."""
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
        """Accounts for the time from `start` to `end`, in which the chip is busy or waits for its links."""
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
    """Simulates a program on a chip."""

    def __init__(self, program: Program, chip: Chip, networks: Networks, *, cycles: bool, pods: bool = True) -> None:
        """cycles: whether to use the compiler's estimates for matrix products, where it gives them. pods: whether to
        count the network between slices."""
        self.program, self.chip, self.networks, self.cycles, self.pods = program, chip, networks, cycles, pods
        self.worker, self._loops = Worker(program), Loops(program)

    def play(self) -> tuple[float, Totals]:
        """Returns the seconds of the whole program, and its totals."""
        wires = Wires()
        seconds, totals = self.run(self.program.computations[self.program.entry], Frame(), 0.0, wires)
        end = max(seconds, wires.end)
        totals.spend(seconds, end, wires, busy=False)
        totals.uncounted |= self.worker.uncounted
        return end, totals

    def run(self, computation: Computation, given: Frame, now: float, wires: Wires) -> tuple[float, Totals]:
        """Simulates a computation from time `now`, and updates the wires. Returns the end time and the totals.

        given: what is known of the computation's parameters.
        """
        running = _Running(self, computation, given, now, wires)
        for instruction in computation:
            running.take(instruction)
        return running.now, running.totals

    def loop(
        self, caller: Computation, loop: Instruction, given: Frame, now: float, wires: Wires
    ) -> tuple[float, Totals]:
        """Simulates all trips of a loop of `caller`, like `run`."""
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


class _Running:
    """A computation that is being simulated."""

    def __init__(self, timeline: Timeline, computation: Computation, given: Frame, now: float, wires: Wires) -> None:
        self._of, self._computation, self._given, self.now, self._wires = timeline, computation, given, now, wires
        self.totals = Totals()
        self._flights: dict[str, float] = {}
        """The end time of each asynchronous operation, by the name of the instruction that began it."""

    def take(self, instruction: Instruction) -> None:
        """Simulates the next instruction of the schedule."""
        opcode = instruction.opcode
        if opcode in FREE:
            return
        if opcode == "while":
            self._join(self._of.loop(self._computation, instruction, self._given, self.now, self._wires))
        elif opcode in ("call", "conditional"):
            self._enter(instruction)
        elif start := self._start_of(instruction):
            self._wait(start)
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
        """Simulates a call, or the longest branch of a conditional."""
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

    def _start_of(self, instruction: Instruction) -> str | None:
        """Returns the key in `_flights` of the operation that an instruction waits for, or None."""
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

    def _wait(self, start: str) -> None:
        # An operation that began in another computation is not waited for.
        until = self._flights.pop(start, self.now)
        self._advance(max(self.now, until), busy=False)

    def _advance(self, until: float, *, busy: bool) -> None:
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
        """Occupies the links, one leg after another; returns the end time of the last."""
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
        self._advance(self.now + max(units, memory), busy=True)
        self.totals.flops += work.flops
        self.totals.bytes += work.bytes
        self.totals.busy += max(units, memory)
        self.totals.bound_by_memory += memory if memory > units else 0.0
