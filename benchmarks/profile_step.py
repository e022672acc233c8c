"""Prints where Palmetto's training step on a CPU goes, by instruction of the compiled program.

    .venv/bin/python benchmarks/profile_step.py RECIPE [KEY.PATH=VALUE]...

XLA's trace has the time of each instruction on each thread, the compiled text its shapes and the lines of Palmetto that
it comes from. Rows are products by shape, with GFLOP/s; what is called through XLA's foreign function interface, by
target; and the rest by the name that XLA gave it. Those whose lines are attention's are listed apart. Times are the
threads' milliseconds in a step, so that two busy threads count twice. Where XLA hands an instruction to other threads
and goes on, the trace has only the time of handing it over; such a product seems impossibly fast.
"""

import gzip
import json
import re
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from race import Steps

from palmetto.planning.program import hlo
from palmetto.planning.program.hlo import Computation, Instruction, Program
from palmetto.planning.program.products import dot_flops

STEPS = 3
ROWS = 12
"""The most rows of a part; the others are added up."""
CONTAINERS = ("while", "call", "conditional")
"""Instructions whose time is that of others."""
ATTENTION = re.compile(r"model/(attention\w*|causal|blocked|scores|masks|accelerated)(/\w+)?\.py$")
PARTS = ("products", "attention: products", "attention: the rest", "the rest")


@dataclass
class Row:
    """Totals of the instructions that share a description."""

    milliseconds: float = 0.0
    calls: int = 0
    flops: int = 0


def main() -> None:
    steps = Steps(sys.argv[1], sys.argv[2:])
    import jax

    steps.take(2)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = steps.take(STEPS)
        (file,) = Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    parts = summarize(events, steps.program())
    total = sum(row.milliseconds for rows in parts.values() for row in rows.values()) / STEPS
    print(f"{' '.join(sys.argv[1:])}\n{1000 * seconds / STEPS:.0f} ms a step, {total:.0f} ms of instructions\n")
    print(f"{'ms':>8}{'share':>8}{'calls':>8}{'GFLOP/s':>9}")
    for part in PARTS:
        rows = sorted(parts[part].items(), key=lambda item: -item[1].milliseconds)
        show(part.upper(), [row for _, row in rows], total)
        for name, row in rows[:ROWS]:
            show(f"  {name}", [row], total)
        if rows[ROWS:]:
            show(f"  {len(rows) - ROWS} others", [row for _, row in rows[ROWS:]], total)


def summarize(events: list[dict[str, object]], text: str) -> dict[str, dict[str, Row]]:
    """Returns the rows of each part by description, summed over all events of the trace."""
    program, of_attention = hlo.parse(text), attention_frames(text)
    described = {
        instruction.name: describe(program, computation, instruction, of_attention)
        for computation in program.computations.values()
        for instruction in computation
        if instruction.opcode not in CONTAINERS
    }
    parts: dict[str, dict[str, Row]] = {part: defaultdict(Row) for part in PARTS}
    for event in events:
        arguments = event.get("args")
        name = arguments.get("hlo_op") if isinstance(arguments, dict) else None
        if name in described and isinstance(duration := event.get("dur", 0), int | float):
            part, description, flops = described[name]
            row = parts[part][description]
            row.milliseconds += duration / 1000
            row.calls += 1
            row.flops += flops
    return parts


def describe(
    program: Program, computation: Computation, instruction: Instruction, of_attention: set[int]
) -> tuple[str, str, int]:
    """Returns an instruction's part, its description and its FLOPs."""
    frame = re.search(r"stack_frame_id=(\d+)", instruction.attributes)
    in_attention = frame is not None and int(frame.group(1)) in of_attention
    inside, candidates = computation, [instruction]
    if instruction.opcode == "fusion":
        inside = program.called(instruction)
        candidates = list(inside)
    dots = [each for each in candidates if each.opcode == "dot"]
    if dots:
        name = " + ".join(product(inside, dot) for dot in dots)
        return PARTS[int(in_attention)], name, sum(dot_flops(inside, dot) for dot in dots)
    target = re.search(r'custom_call_target="([^"]+)"', instruction.attributes)
    name = target.group(1) if target else re.sub(r"[.\d]+$", "", instruction.name)
    return PARTS[2 if in_attention else 3], name, 0


def product(computation: Computation, dot: Instruction) -> str:
    """Returns a product as text, as in `bf16[1024,128] · bf16[128,512] → f32`."""
    left, right = (computation[name].shape[0] for name in dot.operands[:2])
    sides = (f"{side.type}[{','.join(map(str, side.dimensions))}]" for side in (left, right))
    return f"{' · '.join(sides)} → {dot.shape[0].type}"


def attention_frames(text: str) -> set[int]:
    """Returns the stack frames of a compiled text that have a line of attention among their callers."""
    tables: dict[str, dict[int, str]] = {}
    for line in text.splitlines():
        if re.fullmatch(r"FileNames|FunctionNames|FileLocations|StackFrames", line):
            rows = tables.setdefault(line, {})
        elif tables and (row := re.match(r"(\d+) (.*)$", line)):
            rows[int(row.group(1))] = row.group(2)
        elif len(tables) == 4 and line:
            break

    def number(row: str, key: str) -> int:
        found = re.search(rf"\b{key}=(\d+)", row)
        return int(found.group(1)) if found else 0

    files = {key for key, name in tables.get("FileNames", {}).items() if ATTENTION.search(name.strip('"'))}
    lines = {key for key, row in tables.get("FileLocations", {}).items() if number(row, "file_name_id") in files}
    frames = tables.get("StackFrames", {})
    found: set[int] = set()
    for key in sorted(frames):  # a caller comes before what it calls
        if number(frames[key], "file_location_id") in lines or number(frames[key], "parent_frame_id") in found:
            found.add(key)
    return found


def show(name: str, rows: list[Row], total: float) -> None:
    """Prints the sum of some rows."""
    milliseconds = sum(row.milliseconds for row in rows)
    flops, calls = sum(row.flops for row in rows), sum(row.calls for row in rows)
    speed = f"{flops / milliseconds / 1e6:9.0f}" if flops and milliseconds else " " * 9
    share = milliseconds / STEPS / total if total else 0.0
    print(f"{milliseconds / STEPS:8.1f}{share:8.1%}{calls // STEPS:8}{speed}  {name}")


if __name__ == "__main__":
    main()
