"""What one instruction does: FLOPs of its matrix products, bytes it moves to and from main memory. Integers alone."""

import math
import re
from functools import cache
from typing import NamedTuple

from palmetto.planning.program import splash
from palmetto.planning.program.collectives import KINDS
from palmetto.planning.program.hlo import Array, Computation, Instruction, Program, Shape, Unreadable

FREE = frozenset(
    [
        "parameter",
        "constant",
        "get-tuple-element",
        "tuple",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
        "add-dependency",
        "domain",
        "opt-barrier",
        "get-dimension-size",
        "iota",
    ]
)
"""Opcodes that take no time: they name memory, or are made where they are used."""

_BOOKKEEPING = frozenset(
    [
        "AllocateBuffer",
        "ConcatBitcast",
        "SliceId",
        "AssumeGatherIndicesInBound",
        "GatherScatterIndicesBitpacked",
        "AsyncCollectiveStart",
        "AsyncCollectiveDone",
        "Sharding",
        "SPMDFullToShardShape",
        "SPMDShardToFullShape",
        "MoveToHost",
        "MoveToDevice",
    ]
)
"""Targets of custom calls that take no time."""
_WITHOUT_PRODUCTS = ("TopK", "ZeroCrop")
"""Targets of custom calls that move memory alone."""
_BOOKKEEPING_KERNELS = ("ragged-dot-metadata",)

_PASSED_ON = frozenset(("bitcast", "get-tuple-element", "reshape", "tuple", "opt-barrier"))
_SLICES = frozenset(("dynamic-slice", "slice", "gather"))


class Work(NamedTuple):
    """Of one instruction, on one chip."""

    flops: int
    """Of matrix products and convolutions; a multiply–add is two."""
    bytes: int
    """Read from and written to main memory, as laid out there."""
    cycles: int
    """The compiler's own estimate for a matrix product; 0 where it states none."""


class Worker:
    """Works out what instructions of a program do."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.uncounted: set[str] = set()
        """What was met whose FLOPs are not known, and so counted as none: targets of custom calls, opcodes."""
        self.flops_of = cache(self._flops_of)
        self._read = cache(self._read_of_parameter)

    def work(self, computation: Computation, instruction: Instruction) -> Work:
        """Of an instruction in the schedule; loops, calls and conditionals are for the caller to enter."""
        if instruction.opcode in FREE or self._is_bookkeeping(instruction):
            return Work(0, 0, 0)
        flops = self._flops(computation, instruction)
        return Work(flops, self._bytes(computation, instruction), _cycles(instruction) if flops else 0)

    def _is_bookkeeping(self, instruction: Instruction) -> bool:
        if instruction.opcode != "custom-call":
            return False
        return _target(instruction) in _BOOKKEEPING or instruction.name.startswith(_BOOKKEEPING_KERNELS)

    # FLOPs

    def _flops(self, computation: Computation, instruction: Instruction) -> int:
        match instruction.opcode:
            case "dot" | "scaled-dot":
                return _dot_flops(computation, instruction)
            case "ragged-dot":
                return _ragged_dot_flops(computation, instruction)
            case "convolution":
                return _convolution_flops(computation, instruction)
            case "custom-call":
                return self._custom_flops(computation, instruction)
            case "fusion" | "call" | "async-start":
                return sum(self.flops_of(name) for names in instruction.called.values() for name in names)
        return 0

    def _custom_flops(self, computation: Computation, call: Instruction) -> int:
        """What a kernel states of itself, or what is known of it."""
        counted = _stated(call, "flops") or splash.flops(computation, call)
        if not counted and not self._is_bookkeeping(call) and _target(call) not in _WITHOUT_PRODUCTS:
            kernel = call.name.rstrip(".0123456789")
            self.uncounted.add(f"{_target(call)} {kernel}" if _target(call) == "tpu_custom_call" else _target(call))
        return counted

    def _flops_of(self, name: str) -> int:
        """Of all of a computation's instructions, each once."""
        computation = self._program.computations[name]
        return sum(self._flops(computation, instruction) for instruction in computation)

    # Bytes

    def _bytes(self, computation: Computation, instruction: Instruction) -> int:
        operands = [computation[name].shape for name in instruction.operands]
        match instruction.opcode:
            case "fusion" | "call" | "async-start":
                (name,) = next(iter(instruction.called.values()))
                inner = self._program.computations[name]
                read = sum(self._read(name, parameter.name) for parameter in inner.parameters)
                return read + self._written(inner, inner.root, instruction.shape)
            case "dynamic-slice" | "slice" | "gather":
                return _stored(instruction.shape) + _same_space(instruction.shape, operands[0])
            case "copy-start":  # (target, source, context)
                return _stored(instruction.shape[:2])
            case "slice-start" | "dynamic-slice-start":  # (source, target, context)
                target = instruction.shape[-2:-1]
                return _stored(target) + _same_space(target, operands[0])
            case "dynamic-update-slice":
                return _stored(operands[1]) + _same_space(operands[1], operands[0])
            case "scatter":
                return 2 * _stored(operands[-1]) + _stored(operands[1])
            case "custom-call" if stated := _stated(instruction, "bytes_accessed"):
                return stated
        return sum(map(_stored, operands)) + _stored(instruction.shape)

    def _read_of_parameter(self, name: str, parameter: str) -> int:
        """Bytes that a computation reads of a parameter: all of it, or the slices that it takes."""
        computation = self._program.computations[name]
        whole, read = _stored(computation[parameter].shape), 0
        for user, place in _real_users(computation, parameter):
            if user.opcode in _SLICES and place == 0:
                read += _same_space(user.shape, computation[parameter].shape)
            elif user.opcode in ("fusion", "call"):
                (inner,) = next(iter(user.called.values()))
                read += self._read(inner, self._program.computations[inner].parameters[place].name)
            elif not (user.opcode == "dynamic-update-slice" and place == 0) and not _is_networked(user):
                return whole
        return min(read, whole)

    def _written(self, computation: Computation, root: Instruction, shape: Shape) -> int:
        """Bytes that a computation writes of what it returns: of an array changed in place what is changed."""
        if root.opcode == "tuple":
            parts = [computation[name] for name in root.operands]
            if len(parts) == len(shape):
                pairs = zip(parts, shape, strict=True)
                return sum(self._written(computation, part, (array,)) for part, array in pairs)
        origin = root
        while origin.opcode in ("bitcast", "convert", "reshape", "get-tuple-element"):
            origin = computation[origin.operands[0]]
        if origin.opcode == "dynamic-update-slice":
            return min(_same_space(computation[origin.operands[1]].shape, shape), _stored(shape))
        if origin.opcode == "parameter" and root.opcode != "convert":
            return 0
        if origin.opcode == "fusion":
            inner = self._program.called(origin)
            return min(self._written(inner, inner.root, origin.shape), _stored(shape))
        return 0 if _is_networked(origin) else _stored(shape)


def _real_users(computation: Computation, name: str) -> list[tuple[Instruction, int]]:
    """The users of a value, those that only pass it on seen through."""
    found = []
    for user, place in computation.users[name]:
        if user.opcode in _PASSED_ON:
            found += _real_users(computation, user.name)
        else:
            found.append((user, place))
    return found


def _is_networked(instruction: Instruction) -> bool:
    """Whether it is a collective, or the marker of one that goes on in another instruction's shadow."""
    return instruction.opcode.startswith(KINDS) or "AsyncCollective" in _target(instruction)


def _target(call: Instruction) -> str:
    """Of a custom call; empty for other instructions."""
    return (call.attribute("custom_call_target") or "").strip('"')


def _stored(shape: Shape) -> int:
    return sum(array.stored_bytes for array in shape if array.space == 0)


def _same_space(shape: Shape, like: Shape) -> int:
    """Bytes of a part of an array, which lies where the array does."""
    return sum(array._replace(space=0).stored_bytes for array in shape) if like[0].space == 0 else 0


def _dot_flops(computation: Computation, dot: Instruction) -> int:
    left = _operand(computation, dot, 0)
    contracted = math.prod(left.dimensions[d] for d in dot.integers("lhs_contracting_dims"))
    return 2 * dot.shape[0].elements * contracted


def _ragged_dot_flops(computation: Computation, dot: Instruction) -> int:
    """Of rows in groups, each with a matrix of its own: a row meets but one of them, whatever the groups' sizes."""
    flops = _dot_flops(computation, dot)
    (ragged,) = dot.integers("lhs_ragged_dims")
    if ragged in dot.integers("lhs_contracting_dims"):  # each group's rows make a matrix of their own
        return flops // _operand(computation, dot, 2).dimensions[-1]
    return flops


def _convolution_flops(computation: Computation, convolution: Instruction) -> int:
    """2 · batch · features in · features out · (places of the output where a place of the kernel meets the input).

    TPU's compiler writes every matrix product as a convolution, batched ones with padding, whose zeros cost nothing.
    """
    left, kernel, out = (_operand(computation, convolution, 0), _operand(computation, convolution, 1),
                         convolution.shape[0])  # fmt: skip
    labels = re.fullmatch(r"(\w+)_(\w+)->(\w+)", convolution.attribute("dim_labels") or "")
    if not labels:
        raise Unreadable(f"{convolution.name} has no dim_labels")
    of_left, of_kernel, of_out = labels.groups()
    window = _window(convolution.attribute("window") or "{}", of_out)
    meetings = 1
    for d, place in window.items():
        sizes = left.dimensions[of_left.index(d)], kernel.dimensions[of_kernel.index(d)]
        meetings *= _meetings(*sizes, out.dimensions[of_out.index(d)], place)
    # A kernel's input features are already divided by the feature groups; the batch is divided by the batch groups.
    groups = int(convolution.attribute("batch_group_count") or 1)
    batch, features = out.dimensions[of_out.index("b")], out.dimensions[of_out.index("f")]
    return 2 * batch * features * kernel.dimensions[of_kernel.index("i")] * meetings // groups


class _Place(NamedTuple):
    """A window along one spatial dimension."""

    stride: int = 1
    before: int = 0
    left_dilation: int = 1
    kernel_dilation: int = 1


def _window(text: str, labels: str) -> dict[str, _Place]:
    """`{size=2x3 stride=1x2 pad=0_0x1_1 …}` by spatial label."""
    fields = dict(re.findall(r"(\w+)=([\d_x\-]+)", text))
    spatial = sorted(label for label in labels if label.isdigit())

    def values(name: str) -> list[int] | None:
        return [int(part.split("_")[0]) for part in fields[name].split("x")] if name in fields else None

    columns = [values(name) for name in ("stride", "pad", "lhs_dilate", "rhs_dilate")]
    default = _Place()
    return {
        label: _Place(*(column[n] if column else default[i] for i, column in enumerate(columns)))
        for n, label in enumerate(spatial)
    }


def _meetings(left: int, kernel: int, out: int, place: _Place) -> int:
    """Pairs of an output's and a kernel's place that meet an input: not padding, nor a gap between dilated ones."""
    count = 0
    reach = (left - 1) * place.left_dilation
    for k in range(kernel):
        offset = k * place.kernel_dilation - place.before
        if place.left_dilation == 1:
            first = max(0, -(offset // place.stride))
            last = min(out - 1, (reach - offset) // place.stride)
            count += max(0, last - first + 1)
        else:
            places = (o * place.stride + offset for o in range(out))
            count += sum(0 <= at <= reach and at % place.left_dilation == 0 for at in places)
    return count


def _operand(computation: Computation, instruction: Instruction, number: int) -> Array:
    return computation[instruction.operands[number]].shape[0]


def _cycles(instruction: Instruction) -> int:
    """What the TPU compiler's cost model says of a fusion around a matrix product.

    Of others it says COST_MODEL_TYPE_INVALID, and numbers by which an addition would run at a fraction of the memory's
    speed.
    """
    window = instruction.configuration.get("window_config", {})
    if window.get("cost_model_type", "COST_MODEL_TYPE_INVALID") == "COST_MODEL_TYPE_INVALID":
        return 0
    return int(window.get("estimated_cycles", 0))


def _stated(instruction: Instruction, quantity: str) -> int:
    """What a kernel of its own (Pallas) states of its cost."""
    cost = instruction.configuration.get("custom_call_config", {}).get("cost_estimate", {})
    return int(cost.get(quantity, 0))
