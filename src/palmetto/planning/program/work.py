"""Counts the FLOPs of an instruction's matrix products and the bytes that it moves to and from main memory."""

from functools import cache
from typing import NamedTuple

from palmetto.planning.program import products, splash
from palmetto.planning.program.collectives import KINDS
from palmetto.planning.program.hlo import Computation, Instruction, Program, Shape

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
"""Opcodes that take no time, since they only name memory or are computed where they are used."""

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
"""Targets of custom calls that only move memory."""
_BOOKKEEPING_KERNELS = ("ragged-dot-metadata",)

_PASSED_ON = frozenset(("bitcast", "get-tuple-element", "reshape", "tuple", "opt-barrier"))
_SLICES = frozenset(("dynamic-slice", "slice", "gather"))


class Work(NamedTuple):
    """The work of one instruction on one chip."""

    flops: int
    """The FLOPs of matrix products and convolutions; a multiply–add is two."""
    bytes: int
    """The bytes read from and written to main memory, with the padding of tiles."""
    cycles: int
    """The compiler's own estimate for a matrix product, or 0 if it gives none."""


class Worker:
    """Counts the work of a program's instructions."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self.uncounted: set[str] = set()
        """The targets of custom calls whose FLOPs are unknown; they are counted as zero."""
        self.flops_of = cache(self._flops_of)
        self._read = cache(self._read_of_parameter)

    def work(self, computation: Computation, instruction: Instruction) -> Work:
        """Returns the work of a scheduled instruction. The caller simulates loops, calls and conditionals itself."""
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
                return products.dot_flops(computation, instruction)
            case "ragged-dot":
                return products.ragged_dot_flops(computation, instruction)
            case "convolution":
                return products.convolution_flops(computation, instruction)
            case "custom-call":
                return self._custom_flops(computation, instruction)
            case "fusion" | "call" | "async-start":
                return sum(self.flops_of(name) for names in instruction.called.values() for name in names)
        return 0

    def _custom_flops(self, computation: Computation, call: Instruction) -> int:
        """Returns the FLOPs that a kernel states, or those that are known of it."""
        counted = _stated(call, "flops") or splash.flops(computation, call)
        if not counted and not self._is_bookkeeping(call) and _target(call) not in _WITHOUT_PRODUCTS:
            kernel = call.name.rstrip(".0123456789")
            self.uncounted.add(f"{_target(call)} {kernel}" if _target(call) == "tpu_custom_call" else _target(call))
        return counted

    def _flops_of(self, name: str) -> int:
        """Returns the FLOPs of a computation's instructions, each counted once."""
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
        """Returns the bytes that a computation reads of a parameter: all of it, or the slices that it uses."""
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
        """Returns the bytes that a computation writes of its result. Of an array updated in place only the update
        counts."""
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
    """Returns the users of a value. Users that only pass it on are replaced by their own users."""
    found = []
    for user, place in computation.users[name]:
        if user.opcode in _PASSED_ON or _is_renamed(user):
            found += _real_users(computation, user.name)
        else:
            found.append((user, place))
    return found


def _is_renamed(user: Instruction) -> bool:
    """Returns whether an instruction only changes how the tiles of its operand's memory are named, as for int8."""
    return user.opcode == "fusion" and user.attribute("output_to_operand_aliasing") == "{{}: (0, {})}"


def _is_networked(instruction: Instruction) -> bool:
    """Returns whether an instruction is a collective, or marks the start or end of one that overlaps with others."""
    return instruction.opcode.startswith(KINDS) or "AsyncCollective" in _target(instruction)


def _target(call: Instruction) -> str:
    """Returns the target of a custom call, or an empty string for other instructions."""
    return (call.attribute("custom_call_target") or "").strip('"')


def _stored(shape: Shape) -> int:
    return sum(array.stored_bytes for array in shape if array.space == 0)


def _same_space(shape: Shape, like: Shape) -> int:
    """Returns the bytes of a part of an array, which is in the same memory space as the array."""
    return sum(array._replace(space=0).stored_bytes for array in shape) if like[0].space == 0 else 0


def _cycles(instruction: Instruction) -> int:
    """Returns the cycles that the TPU compiler's cost model estimates for a fusion around a matrix product.

    For other fusions it notes COST_MODEL_TYPE_INVALID, with numbers far too high for an addition.
    """
    window = instruction.configuration.get("window_config", {})
    if window.get("cost_model_type", "COST_MODEL_TYPE_INVALID") == "COST_MODEL_TYPE_INVALID":
        return 0
    return int(window.get("estimated_cycles", 0))


def _stated(instruction: Instruction, quantity: str) -> int:
    """Returns the cost that a custom kernel (Pallas) states, or 0 if it states none."""
    cost = instruction.configuration.get("custom_call_config", {}).get("cost_estimate", {})
    return int(cost.get(quantity, 0))
