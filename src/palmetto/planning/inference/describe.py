"""Writes a plan of decoding or prefill as text for people."""

from typing import Any

from palmetto.planning.describe import details, labelled, memory_line
from palmetto.planning.inference.phases import Phase


def describe(values: dict[str, Any]) -> str:
    """Returns the values of `at_scale.plan` as lines of text."""
    layout, phase = values["layout"], Phase(**values["phase"])
    mesh = " × ".join(f"{axis} {size}" for axis, size in layout["mesh"].items())
    rows = [
        ("step", f"{phase}, {values['weights']} weights"),
        ("layout", f"{layout['name']}: {layout['title']}, {mesh}"),
        ("memory", memory_line(values["memory"])),
    ]
    if "mfu" in values:
        rows += [
            ("time", _speed(values)),
            ("roofline", _speed(values["roofline"])),
            ("context", _contexts(values, phase)),
            *details(values),
        ]
    return labelled(values, rows)


def _speed(values: dict[str, Any]) -> str:
    per_token = values.get("milliseconds_per_token")
    time = f"{values['seconds']:.3g} s" if per_token is None else f"{per_token:.3g} ms a token"
    return f"{time}, MFU {values['mfu']:.1%}"


def _contexts(values: dict[str, Any], phase: Phase) -> str:
    return (
        f"{phase.batch:,} sequences of up to {values['longest_context']:,} positions with the cache in 30 % of the "
        f"memory, of {values['longest_context_in_all_memory']:,} in all of it"
    )
