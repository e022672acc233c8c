"""XLA's optimized programs, read from their text: computations, instructions in the order they are scheduled, shapes.

The text is what `jax.stages.Compiled.as_text` gives: the program of one device. Grammar: XLA's HLO parser.
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
    """The text is not as this reader knows it: another version of the compiler may write it otherwise."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Says in one line what a program could not be read for: raises RunStopped."""
    try:
        yield
    except Unreadable as error:
        raise RunStopped(f"the compiler's program cannot be read: {error}") from error
    except (ValueError, LookupError) as error:
        raise RunStopped(f"the compiler's program cannot be read: {type(error).__name__}: {error}") from error


class Array(NamedTuple):
    """One array of a shape."""

    type: str
    dimensions: tuple[int, ...]
    order: tuple[int, ...] = ()
    """Dimensions from the fastest varying on; empty where the text does not say."""
    tile: tuple[int, ...] = ()
    """The fastest dimensions are padded to whole tiles."""
    space: int = 0
    """0 is the device's main memory; the others are on the chip or the host's."""

    @property
    def elements(self) -> int:
        return math.prod(self.dimensions)

    @property
    def bits(self) -> int:
        """Of one element."""
        if self.type in _BITS:
            return _BITS[self.type]
        digits = re.search(r"\d+", self.type)
        if not digits:
            raise Unreadable(f"no size in the type {self.type}")
        return int(digits.group())

    @property
    def bytes(self) -> int:
        """Without padding."""
        return (self.elements * self.bits + 7) // 8

    @property
    def stored_bytes(self) -> int:
        """With the padding of tiles."""
        if not self.tile:
            return self.bytes
        sizes = [self.dimensions[d] for d in self.order]
        for place, tile in enumerate(reversed(self.tile)):
            if place < len(sizes):
                sizes[place] = -(-sizes[place] // tile) * tile
        return (math.prod(sizes) * self.bits + 7) // 8


Shape = tuple[Array, ...]
"""The arrays of a shape, nested tuples laid flat."""


def parse_shape(text: str) -> Shape:
    """`bf16[8,128]{1,0:T(8,128)(2,1)S(1)}`, or a tuple of such."""
    return tuple(_array(*match.groups()) for match in _ARRAY.finditer(text))


def _array(type_: str, dimensions: str, order: str | None, layout: str | None) -> Array:
    sizes = tuple(int(size.strip().lstrip("<=")) for size in dimensions.split(",") if size.strip())
    tile = re.search(r"T\(([\d,]+)\)", layout or "")
    space = re.search(r"S\((\d+)\)", layout or "")
    return Array(type_, sizes, _integers(order), _integers(tile and tile.group(1)), int(space.group(1)) if space else 0)


class Instruction(NamedTuple):
    """One operation of a computation."""

    name: str
    opcode: str
    shape: Shape
    operands: tuple[str, ...]
    """Names of instructions of the same computation."""
    literal: str
    """What stands in the parentheses: of a constant its value, of a parameter its number."""
    attributes: str
    called: dict[str, tuple[str, ...]]
    """Computations by the attribute that names them: calls, body, condition, …"""

    def attribute(self, name: str) -> str | None:
        """The text of an attribute, brackets included; None where there is none."""
        found = re.search(rf"\b{name}=", self.attributes)
        if not found:
            return None
        end = _end_of_part(self.attributes, found.end())
        while self.attributes.startswith(", device_ids=", end):  # the rest of a mesh
            end = _end_of_part(self.attributes, end + 1)
        return self.attributes[found.end() : end].strip()

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute like `{1,0}`; empty where there is none."""
        return _integers((self.attribute(name) or "").strip("{}"))

    @property
    def configuration(self) -> dict[str, Any]:
        """What the compiler's back end noted."""
        text = self.attribute("backend_config")
        try:
            value = json.loads(text) if text and text.startswith("{") else {}
        except json.JSONDecodeError:  # some back ends write their own format
            return {}
        return value if isinstance(value, dict) else {}


class Computation:
    """Instructions in the order of their schedule; the last is the root unless another is marked."""

    def __init__(self, name: str, instructions: dict[str, Instruction], root: str) -> None:
        self.name, self.instructions, self.root = name, instructions, instructions[root]

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @cached_property
    def parameters(self) -> list[Instruction]:
        """By number."""
        found = [instruction for instruction in self if instruction.opcode == "parameter"]
        return sorted(found, key=lambda instruction: int(instruction.literal))

    @cached_property
    def users(self) -> dict[str, list[tuple[Instruction, int]]]:
        """By name: the instructions that take it, each with the operand's number."""
        users: dict[str, list[tuple[Instruction, int]]] = {name: [] for name in self.instructions}
        for instruction in self:
            for number, operand in enumerate(instruction.operands):
                users[operand].append((instruction, number))
        return users


class Program(NamedTuple):
    """A whole program."""

    computations: dict[str, Computation]
    entry: str

    def called(self, instruction: Instruction, attribute: str = "calls") -> Computation:
        """The one computation that an attribute names."""
        (name,) = instruction.called[attribute]
        return self.computations[name]


def parse(text: str) -> Program:
    """Reads a program. Raises Unreadable where the text is not one."""
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
        elif body:  # a kernel's metadata, which is spread over lines
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
    """Names, written as in `%a, /*index=1*/f32[2]{0} %b, c`."""
    text, start = re.sub(r"/\*.*?\*/", "", text), 0
    while start < len(text):
        end = _end_of_part(text, start)
        if words := text[start:end].split():
            yield words[-1].removeprefix("%")
        start = end + 1


def _end_of_part(text: str, start: int) -> int:
    """The place of the next comma outside of brackets and quotes, or the text's end."""
    end = start
    while end < len(text) and text[end] != ",":
        if text[end] in "({[":
            end = closing(text, end)
        elif text[end] == '"':
            end = _end_of_quote(text, end)
        end += 1
    return end


def closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`; quoted text is passed over."""
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
