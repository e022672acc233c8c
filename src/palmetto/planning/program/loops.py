"""Counts the trips of a program's loops, and tells different trips apart.

The bound of an inner loop may depend on the trip of the outer one: a table may hold how many blocks of keys each block
of queries visits. Trips of the outer loop are equal if their inner loops do the same.
"""

from collections import Counter
from collections.abc import Hashable

from palmetto.planning.program import integers
from palmetto.planning.program.hlo import Computation, Instruction, Program
from palmetto.planning.program.integers import Called, Frame, Unknown


class Loops:
    """The loops of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._alike: dict[str, Hashable] = {}

    def trips(self, caller: Computation, loop: Instruction, outer: Frame) -> list[tuple[Frame, int]]:
        """Returns the kinds of trips of a `while` loop of `caller`: the body's parameters, and the number of trips.

        Raises Unknown if that depends on data.
        """
        body = self._program.called(loop, "body")
        kinds: dict[Hashable, Frame] = {}
        counts: Counter[Hashable] = Counter()
        try:
            *frames, _ = integers.trips(self._program, caller, loop, outer)
        except Unknown:
            noted = loop.configuration.get("known_trip_count")
            if not isinstance(noted, dict):
                raise
            return [(Frame(), int(noted["n"]))]
        for frame in frames:
            kind = self._inside(body, frame)
            kinds.setdefault(kind, frame)
            counts[kind] += 1
        return [(kinds[kind], count) for kind, count in counts.items()]

    def _inside(self, computation: Computation, frame: Frame) -> Hashable:
        """Returns a value that describes the loops of a computation, given its parameters; equal trips have equal
        values."""
        if computation.name in self._alike:
            return self._alike[computation.name]
        touched, frame.touched = frame.touched, False
        inner: list[Hashable] = []
        for instruction in computation:
            if instruction.opcode == "while":
                try:
                    kinds = self.trips(computation, instruction, frame)
                except Unknown:
                    kinds = []
                body = self._program.called(instruction, "body")
                inner.append(tuple((count, self._inside(body, given)) for given, count in kinds))
            elif instruction.opcode == "call":
                given = Called(self._program, computation, instruction, frame)
                inner.append(self._inside(self._program.called(instruction, "to_apply"), given))
        if not frame.touched:
            self._alike[computation.name] = tuple(inner)
        frame.touched |= touched
        return tuple(inner)
