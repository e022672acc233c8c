"""The collectives of a program: the bytes that each moves, and the devices that take part."""

import re
from typing import Literal, NamedTuple, get_args

from palmetto.planning.program.groups import Groups, parse_groups
from palmetto.planning.program.hlo import Computation, Instruction, Program

Kind = Literal[
    "all-gather",
    "reduce-scatter",
    "all-reduce",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

_MEGASCALE = {
    "ONE_TO_ONE": "collective-permute",
    "ALL_REDUCE": "all-reduce",
    "ALL_GATHER": "all-gather",
    "REDUCE_SCATTER": "reduce-scatter",
    "ALL_TO_ALL": "all-to-all",
}
"""The collectives between slices, which a TPU's runtime makes of a send and a receive."""


class Collective(NamedTuple):
    """A collective, as seen from one device."""

    kind: Kind
    bytes: int
    """The bytes of a device's result (all-gather), of its input (reduce-scatter, all-reduce, all-to-all), or of what it
    sends. A ragged-all-to-all may send less than its input."""
    groups: Groups
    """The groups of devices; for a collective-permute pairs (from, to). If empty, each group has one device of every
    slice, at the same place."""
    every_way: bool = False
    """True if it uses all dimensions of a torus at once instead of one ring; the TPU compiler notes which."""


def collective(program: Program, computation: Computation, instruction: Instruction, devices: int) -> Collective | None:
    """Returns the collective that an instruction is, starts or contains as a fusion, or None."""
    opcode = instruction.opcode.removesuffix("-start")
    if opcode == "collective-permute" and instruction.attribute("source_target_pairs") == "{}":
        return None
    if opcode in KINDS:
        # The other operands of a ragged-all-to-all are its output and the numbers of rows.
        operands = instruction.operands[: 1 if opcode == "ragged-all-to-all" else None]
        size = sum(array.bytes for name in operands for array in computation[name].shape)
        return _collective(opcode, size, instruction, devices)
    if opcode == "send" and "xla_megascale" in instruction.attributes:
        return _between_slices(instruction)
    if instruction.opcode in ("fusion", "async-start"):
        return _inside(program, program.called(instruction), devices)
    return None


def _inside(program: Program, computation: Computation, devices: int) -> Collective | None:
    for instruction in computation:
        found = collective(program, computation, instruction, devices)
        if found and found.kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
            return found._replace(kind="reduce-scatter")
        if found:
            return found
    return None


def _collective(kind: str, size: int, instruction: Instruction, devices: int) -> Collective:
    if kind == "collective-permute":
        pairs = parse_groups(instruction.attribute("source_target_pairs") or "{}", devices)
        return Collective("collective-permute", size, pairs)
    groups = parse_groups(instruction.attribute("replica_groups") or "{}", devices)
    size *= len(groups[0]) if kind == "all-gather" else 1
    strategy = instruction.configuration.get("collective_algorithm_config", {}).get("strategy", "")
    return Collective(kind, size, groups, every_way="ND" in strategy)  # type: ignore[arg-type]


def _between_slices(send: Instruction) -> Collective:
    transfer = re.search(r'_xla_megascale_transfer_type="(\w+)"', send.attributes)
    name = transfer.group(1) if transfer else "ONE_TO_ONE"
    kind = _MEGASCALE.get(name, "collective-permute")
    return Collective(kind, send.shape[0].bytes, ())  # type: ignore[arg-type]


def rendezvous(instruction: Instruction) -> str | None:
    """Returns the name that a send between slices shares with its receive, or None for other instructions."""
    found = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', instruction.attributes)
    return found.group(1) if found else None
