"""The collectives of a program: what each moves, and among which devices."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from palmetto.planning.hlo import Computation, Instruction, Program

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"]

Groups = tuple[tuple[int, ...], ...]
"""Devices, by their number in the program's device assignment."""

_MEGASCALE = {
    "ONE_TO_ONE": "collective-permute",
    "ALL_REDUCE": "all-reduce",
    "ALL_GATHER": "all-gather",
    "REDUCE_SCATTER": "reduce-scatter",
    "ALL_TO_ALL": "all-to-all",
}
"""The transfers between slices that TPU's runtime makes out of a send and a receive."""


class Collective(NamedTuple):
    """What one instruction moves, as seen from one device."""

    kind: Kind
    bytes: int
    """What a device ends with (all-gather), starts with (reduce-scatter, all-reduce, all-to-all) or sends on."""
    groups: Groups
    """Those that meet; of a collective-permute pairs (from, to); empty: those that differ in their slice alone."""
    every_way: bool = False
    """Whether it goes along all dimensions of a torus at once; by default around one ring through all its devices.
    TPU's compiler notes which."""


def collective(program: Program, computation: Computation, instruction: Instruction, devices: int) -> Collective | None:
    """The collective that an instruction is, starts, or is the fusion of; None for any other instruction."""
    opcode = instruction.opcode.removesuffix("-start")
    if opcode in KINDS:
        size = sum(array.bytes for name in instruction.operands for array in computation[name].shape)
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
    """What joins a send between slices with its receive; None for other instructions."""
    found = re.search(r'_xla_host_transfer_rendezvous="([^"]*)"', instruction.attributes)
    return found.group(1) if found else None


def parse_groups(text: str, devices: int) -> Groups:
    """`{{0,1},{2,3}}`, or `[2,4]<=[4,2]T(1,0)` (iota, reshaped, transposed, reshaped), or `{}`: all devices."""
    iota = re.fullmatch(r"\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    if iota:
        shape, sizes, order = (tuple(map(int, part.split(","))) if part else None for part in iota.groups())
        assert shape, "an iota has a shape"
        assert sizes, "and sizes"
        numbers = np.arange(np.prod(sizes)).reshape(sizes)
        return _rows((numbers.transpose(order) if order else numbers).reshape(shape))
    if not text.strip("{}"):
        return (tuple(range(devices)),)
    groups = re.findall(r"\{([\d,]+)\}", text)
    assert groups, f"HLO: groups of devices in an unknown form: {text[:60]}"
    return tuple(tuple(map(int, group.split(","))) for group in groups)


def _rows(numbers: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> Groups:
    rows: Sequence[Sequence[int]] = numbers.reshape(-1, numbers.shape[-1]).tolist()
    return tuple(map(tuple, rows))
