"""Reads the text of XLA's optimized programs: computations, scheduled instructions and shapes.

The text is that of `jax.stages.Compiled.as_text`, the program of one device. Its grammar is that of XLA's HLO parser.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

from palmetto.errors import RunStopped

_BITS = {"pred": 8, "token": 0, "opaque": 0}
_ARRAY = re.compile(r"(\w+)\[([\d,<= ]*)\](?:\{([\d,]*)(?::([^{}]*))?\})?")
_NAME = r"%?([\w.\-]+)"
_HEAD = re.compile(rf"(?:ENTRY )?{_NAME} \(.*\{{$")
_INSTRUCTION = re.compile(rf"\s+(?:ROOT )?{_NAME} = (.*)$")
_END = re.compile(r"\}(?:,|\s*$)")
_CALLED = re.compile(
    r"\b(calls|body|condition|to_apply|branch_computations|called_computations"
    rf"|true_computation|false_computation)=(?:{_NAME}|\{{([^}}]*)\}})"
)


class Unreadable(ValueError):
    """Raised if a text has an unknown form; other versions of the compiler may write other forms."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Turns an error in reading a program into RunStopped, with its reason in one line."""
    try:
        yield
    except Unreadable as error:
        raise RunStopped(f"the compiler's program cannot be read: {error}") from error
    except (ValueError, LookupError) as error:
        raise RunStopped(f"the compiler's program cannot be read: {type(error).__name__}: {error}") from error


class Array(NamedTuple):
    """An array of a shape."""

    type: str
    dimensions: tuple[int, ...]
    order: tuple[int, ...] = ()
    """The dimensions from the fastest to the slowest varying; empty if the text does not say."""
    tile: tuple[int, ...] = ()
    """The tile to whose size the fastest dimensions are padded."""
    space: int = 0
    """The memory space: 0 is the device's main memory; others are on the chip or on the host."""

    @property
    def elements(self) -> int:
        return math.prod(self.dimensions)

    @property
    def bits(self) -> int:
        """The bits of one element."""
        if self.type in _BITS:
            return _BITS[self.type]
        digits = re.search(r"\d+", self.type)
        if not digits:
            raise Unreadable(f"no size in the type {self.type}")
        return int(digits.group())

    @property
    def bytes(self) -> int:
        """The bytes without padding."""
        return (self.elements * self.bits + 7) // 8

    @property
    def stored_bytes(self) -> int:
        """The bytes with the padding of tiles."""
        if not self.tile:
            return self.bytes
        sizes = [self.dimensions[d] for d in self.order]
        for place, tile in enumerate(reversed(self.tile)):
            if place < len(sizes):
                sizes[place] = -(-sizes[place] // tile) * tile
        return (math.prod(sizes) * self.bits + 7) // 8


Shape = tuple[Array, ...]
"""The arrays of a shape, with nested tuples flattened."""


def parse_shape(text: str) -> Shape:
    """Reads a shape such as `bf16[8,128]{1,0:T(8,128)(2,1)S(1)}`, or a tuple of such shapes."""
    return tuple(_array(*match.groups()) for match in _ARRAY.finditer(text))


def _array(type_: str, dimensions: str, order: str | None, layout: str | None) -> Array:
    sizes = tuple(int(size.strip().lstrip("<=")) for size in dimensions.split(",") if size.strip())
    tile = re.search(r"T\(([\d,]+)\)", layout or "")
    space = re.search(r"S\((\d+)\)", layout or "")
    return Array(type_, sizes, _integers(order), _integers(tile and tile.group(1)), int(space.group(1)) if space else 0)


class Instruction(NamedTuple):
    """An instruction of a computation."""

    name: str
    opcode: str
    shape: Shape
    operands: tuple[str, ...]
    """The names of its operands, instructions of the same computation."""
    literal: str
    """The value of a constant, or the number of a parameter."""
    attributes: str
    called: dict[str, tuple[str, ...]]
    """The computations that it calls, by the attribute that names them: calls, body, condition, …"""

    def attribute(self, name: str) -> str | None:
        """Returns the text of an attribute, with its brackets, or None if there is none."""
        found = re.search(rf"\b{name}=", self.attributes)
        if not found:
            return None
        end = _end_of_part(self.attributes, found.end())
        while self.attributes.startswith(", device_ids=", end):  # the second part of a mesh
            end = _end_of_part(self.attributes, end + 1)
        return self.attributes[found.end() : end].strip()

    def integers(self, name: str) -> tuple[int, ...]:
        """Returns the integers of an attribute such as `{1,0}`, or none if there is no such attribute."""
        return _integers((self.attribute(name) or "").strip("{}"))

    @property
    def configuration(self) -> dict[str, Any]:
        """The notes of the compiler's back end."""
        text = self.attribute("backend_config")
        try:
            value = json.loads(text) if text and text.startswith("{") else {}
        except json.JSONDecodeError:  # some back ends write their own format
            return {}
        return value if isinstance(value, dict) else {}


class Computation:
    """Instructions in the order of their schedule. The root is the marked instruction, or else the last."""

    def __init__(self, name: str, instructions: dict[str, Instruction], root: str) -> None:
        self.name, self.instructions, self.root = name, instructions, instructions[root]

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @cached_property
    def parameters(self) -> list[Instruction]:
        """The parameters in the order of their numbers."""
        found = [instruction for instruction in self if instruction.opcode == "parameter"]
        return sorted(found, key=lambda instruction: int(instruction.literal))

    @cached_property
    def users(self) -> dict[str, list[tuple[Instruction, int]]]:
        """Maps each instruction, by name, to the instructions that use it, with the number of the operand."""
        users: dict[str, list[tuple[Instruction, int]]] = {name: [] for name in self.instructions}
        for instruction in self:
            for number, operand in enumerate(instruction.operands):
                users[operand].append((instruction, number))
        return users


class Program(NamedTuple):
    """A program: its computations by name, and the name of the entry computation."""

    computations: dict[str, Computation]
    entry: str

    def called(self, instruction: Instruction, attribute: str = "calls") -> Computation:
        """Returns the computation that an attribute names."""
        (name,) = instruction.called[attribute]
        return self.computations[name]


def parse(text: str) -> Program:
    """Reads a program. Raises Unreadable if the text is not one."""
    computations: dict[str, Computation] = {}
    entry = name = ""
    body: list[str] = []
    for line in text.splitlines():
        if not name:
            if head := _HEAD.match(line):
                name, body = head.group(1), []
                entry = name if line.startswith("ENTRY") else entry
        elif _END.match(line):
            computations[name] = _computation(name, body)
            name = ""
        elif line[:1].isspace():
            body.append(line)
        elif body:  # the metadata of a kernel may span several lines
            body[-1] += line
    if not entry:
        raise Unreadable("no HLO program: it has no entry computation")
    return Program(computations, entry)


def _computation(name: str, lines: Iterable[str]) -> Computation:
    instructions: dict[str, Instruction] = {}
    root = ""
    for line in lines:
        if match := _INSTRUCTION.match(line):
            instruction = _instruction(*match.groups())
            instructions[instruction.name] = instruction
            root = instruction.name if line.lstrip().startswith("ROOT ") else root
    if not instructions:
        raise Unreadable(f"nothing in the computation {name}")
    return Computation(name, instructions, root or list(instructions)[-1])


def _instruction(name: str, rest: str) -> Instruction:
    end = closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = parse_shape(rest[:end]), rest[end:].lstrip()
    opening = rest.index("(")
    opcode, end = rest[:opening], closing(rest, opening)
    inside, attributes = rest[opening + 1 : end], rest[end + 1 :].lstrip(", ")
    literal = inside if opcode in ("constant", "parameter") else ""
    operands = () if literal else tuple(_operands(inside))
    called = {
        key: (single,) if single else tuple(re.findall(_NAME, several))
        for key, single, several in _CALLED.findall(attributes)
    }
    return Instruction(name, opcode, shape, operands, literal, attributes, called)


def _operands(text: str) -> Iterator[str]:
    """Yields the names of operands, which are written as in `%a, /*index=1*/f32[2]{0} %b, c`."""
    text, start = re.sub(r"/\*.*?\*/", "", text), 0
    while start < len(text):
        end = _end_of_part(text, start)
        if words := text[start:end].split():
            yield words[-1].removeprefix("%")
        start = end + 1


def _end_of_part(text: str, start: int) -> int:
    """Returns the index of the next comma outside of brackets and quotes, or the end of the text."""
    end = start
    while end < len(text) and text[end] != ",":
        if text[end] in "({[":
            end = closing(text, end)
        elif text[end] == '"':
            end = _end_of_quote(text, end)
        end += 1
    return end


def closing(text: str, start: int) -> int:
    """Returns the index of the bracket that closes the one at `start`. Quoted text is skipped."""
    depth, i = 0, start
    while i < len(text):
        character = text[i]
        if character == '"':
            i = _end_of_quote(text, i)
        elif character in "({[":
            depth += 1
        elif character in ")}]":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    raise Unreadable(f"an open bracket in {text[start : start + 60]!r}")


def _end_of_quote(text: str, start: int) -> int:
    end = text.index('"', start + 1)
    while text[end - 1] == "\\":
        end = text.index('"', end + 1)
    return end


def _integers(text: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (text or "").split(",") if part.strip())
