"""Evaluates the integers that control a program from its text: counters, bounds and tables of constants."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from palmetto.planning.program.hlo import Computation, Instruction, Program

Integers = np.ndarray[Any, np.dtype[Any]]
Arguments = Callable[[int, int | None], Integers]
"""Maps (number of a parameter, element if it is a tuple) to its value."""


class Unknown(Exception):
    """Raised for a value that does not follow from the text."""


_SAME = ("copy", "copy-start", "copy-done", "bitcast", "reshape", "opt-barrier")
_TYPES: dict[str, Any] = {"pred": np.bool_}
_TYPES |= {f"s{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)}
_TYPES |= {f"u{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)}
_BINARY: dict[str, Callable[[Integers, Integers], Integers]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "divide": lambda a, b: np.trunc(a / b).astype(a.dtype),
    "remainder": lambda a, b: np.fmod(a, b),
    "shift-left": np.left_shift,
    "shift-right-logical": np.right_shift,
    "shift-right-arithmetic": np.right_shift,
}
_COMPARISONS: dict[str, Callable[[Integers, Integers], Integers]] = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "EQ": np.equal,
    "NE": np.not_equal,
}


class Frame:
    """The known parameters of a computation. In this base class none is known."""

    def __init__(self) -> None:
        self.touched = False
        """True if any parameter has been asked for."""

    def __call__(self, parameter: int, element: int | None) -> Integers:
        raise Unknown(f"parameter {parameter}")


class _Trip(Frame):
    """The parameter of a loop's body in one trip, a tuple whose elements are evaluated when they are needed."""

    def __init__(self, within: "_Within", previous: "_Trip | None" = None) -> None:
        super().__init__()
        self._within, self._previous = within, previous
        self._values: dict[int, Integers | None] = {}

    def __call__(self, parameter: int, element: int | None) -> Integers:
        if element is None:
            raise Unknown(f"parameter {parameter}")
        self.touched = True
        missing: list[_Trip] = []
        trip: _Trip | None = self
        while trip is not None and element not in trip._values:
            missing.append(trip)
            trip = trip._previous
        for trip in reversed(missing):
            trip._values[element] = trip._element(element)
        value = self._values[element]
        if value is None:
            raise Unknown(f"element {element}")
        return value

    def _element(self, element: int) -> Integers | None:
        program, caller, loop, outer, body = self._within
        try:
            if self._previous is None:
                return _element(program, caller, caller[loop.operands[0]], element, outer)
            return _element(program, body, body.root, element, self._previous)
        except Unknown:
            return None


class _Within(NamedTuple):
    """A loop and its surroundings."""

    program: Program
    caller: Computation
    loop: Instruction
    outer: Arguments
    body: Computation


class Called(Frame):
    """The parameters of a called computation."""

    def __init__(self, program: Program, caller: Computation, call: Instruction, outer: Arguments) -> None:
        super().__init__()
        self._program, self._caller, self._call, self._outer = program, caller, call, outer

    def __call__(self, parameter: int, element: int | None) -> Integers:
        self.touched = True
        operand = self._call.operands[parameter]
        if element is None:
            return evaluate(self._program, self._caller, operand, self._outer)
        return _element(self._program, self._caller, self._caller[operand], element, self._outer)


def trips(program: Program, caller: Computation, loop: Instruction, outer: Arguments) -> Iterator[Frame]:
    """Yields the parameter of a `while` loop's body in every trip, and at last the result of the loop.

    outer: the known parameters of the caller. Raises Unknown if the condition depends on data.
    """
    condition = program.called(loop, "condition")
    trip = _Trip(_Within(program, caller, loop, outer, program.called(loop, "body")))
    while evaluate(program, condition, condition.root.name, trip):
        yield trip
        trip = _Trip(trip._within, trip)
    yield trip


def evaluate(program: Program, computation: Computation, name: str, arguments: Arguments) -> Integers:
    """Returns the value of an instruction, an array of integers. Raises Unknown if it depends on data or has no
    integers."""
    instruction = computation[name]

    def operand(number: int) -> Integers:
        return evaluate(program, computation, instruction.operands[number], arguments)

    opcode = instruction.opcode
    if opcode == "parameter":
        return arguments(int(instruction.literal), None)
    if opcode == "get-tuple-element":
        of, number = computation[instruction.operands[0]], int(instruction.attribute("index") or 0)
        return _element(program, computation, of, number, arguments)
    if opcode in ("fusion", "call"):
        inner = program.called(instruction, "calls" if opcode == "fusion" else "to_apply")
        return evaluate(program, inner, inner.root.name, Called(program, computation, instruction, arguments))
    if not instruction.shape or instruction.shape[0].type not in _TYPES:
        raise Unknown(name)
    shape, type_ = instruction.shape[0].dimensions, _TYPES[instruction.shape[0].type]
    if opcode == "constant":
        return _constant(instruction, shape, type_)
    if opcode in _SAME:
        return operand(0).reshape(shape)
    if opcode in _BINARY:
        return _BINARY[opcode](operand(0), operand(1))
    match opcode:
        case "convert":
            return operand(0).astype(type_)
        case "compare":
            return _COMPARISONS[instruction.attribute("direction") or ""](operand(0), operand(1))
        case "select":
            return np.where(operand(0), operand(1), operand(2))
        case "clamp":
            return np.clip(operand(1), operand(0), operand(2))
        case "not":
            return ~operand(0)
        case "negate":
            return -operand(0)
        case "broadcast":
            return _broadcast(operand(0), shape, instruction.integers("dimensions"))
        case "iota":
            along = int(instruction.attribute("iota_dimension") or 0)
            return np.moveaxis(np.broadcast_to(np.arange(shape[along]), _last(shape, along)), -1, along).astype(type_)
        case "custom-call" if "AllocateBuffer" in instruction.attributes:
            return np.zeros(shape, type_)
        case "dynamic-update-slice":
            whole, part = operand(0).copy(), operand(1)
            starts = [int(operand(2 + d)) for d in range(whole.ndim)]
            whole[_part(starts, part.shape, whole.shape)] = part
            return whole
        case "slice" | "slice-done" if bounds := re.findall(r"\[(\d+):(\d+)", instruction.attribute("slice") or ""):
            return operand(0)[tuple(slice(int(start), int(end)) for start, end in bounds)]
        case "dynamic-slice":
            whole = operand(0)
            return whole[_part([int(operand(1 + d)) for d in range(whole.ndim)], shape, whole.shape)]
    raise Unknown(name)


def _element(
    program: Program, computation: Computation, of: Instruction, number: int, arguments: Arguments
) -> Integers:
    """Returns an element of an instruction's value, which is a tuple."""
    match of.opcode:
        case "parameter":
            return arguments(int(of.literal), number)
        case "tuple":
            return evaluate(program, computation, of.operands[number], arguments)
        case "opt-barrier":
            return _element(program, computation, computation[of.operands[0]], number, arguments)
        case "while":
            *_, left = trips(program, computation, of, arguments)
            return left(0, number)
        case "fusion" | "call":
            inner = program.called(of, "calls" if of.opcode == "fusion" else "to_apply")
            return _element(program, inner, inner.root, number, Called(program, computation, of, arguments))
    raise Unknown(of.name)


def _part(starts: list[int], part: tuple[int, ...], whole: tuple[int, ...]) -> tuple[slice, ...]:
    """Returns a dynamic slice, moved so that it lies inside the whole array."""
    inside = [max(0, min(at, size - own)) for at, size, own in zip(starts, whole, part, strict=True)]
    return tuple(slice(at, at + own) for at, own in zip(inside, part, strict=True))


def _constant(constant: Instruction, shape: tuple[int, ...], type_: Any) -> Integers:
    words = re.findall(r"true|false|-?\d+", constant.literal)
    if "..." in constant.literal or len(words) != np.prod(shape, dtype=int):
        raise Unknown(constant.name)
    values = [word == "true" if word in ("true", "false") else int(word) for word in words]
    return np.array(values, type_).reshape(shape)


def _broadcast(value: Integers, shape: tuple[int, ...], dimensions: tuple[int, ...]) -> Integers:
    sizes = [1] * len(shape)
    for place, dimension in enumerate(dimensions):
        sizes[dimension] = value.shape[place]
    return np.broadcast_to(value.reshape(sizes), shape)


def _last(shape: tuple[int, ...], along: int) -> tuple[int, ...]:
    return (*shape[:along], *shape[along + 1 :], shape[along])
