"""Writes a plan at scale as text for people."""

import textwrap
from typing import Any

from palmetto.training import energy

_WIDTH = 104
"""The width of the text after its label."""


def describe(values: dict[str, Any]) -> str:
    """Returns the values of `at_scale.plan` as lines of text."""
    rows = [("layout", division(values)), ("memory", memory_line(values["memory"]))]
    rows += [("batch" if n == 0 else "", _batch(batch)) for n, batch in enumerate(values["batches"])]
    if values["batches"][-1].get("mfu") is not None:
        rows += details(values)
        if values["pods"]["count"] > 1:
            rows.append(("pods", f"{values['pods']['speedup']:.2f} times one of {values['pods']['count']}"))
    if values["energy"]:
        rows.append(("energy", ", ".join(energy.describe(values["energy"]))))
    return labelled(values, rows)


def labelled(values: dict[str, Any], rows: list[tuple[str, str]]) -> str:
    """Returns a plan's title, its rows of a label and a text, its notes, and how long the compiler took."""
    for note in values["notes"]:
        rows += zip(("note", *[""] * len(note)), textwrap.wrap(note, _WIDTH), strict=False)
    rows.append(("compiling", f"{values['compile_seconds']:.0f} s"))
    lines = [f"  {label:14}{text}" for label, text in rows]
    return "\n".join([_title(values), *lines])


def misfit(values: dict[str, Any]) -> str:
    """Returns a line that says why a plan does not fit."""
    missing = values["memory"]["peak"] - values["memory"]["capacity"]
    return f"{_title(values)}: does not fit: {memory_line(values['memory'])}; {_size(missing)} are missing"


def _title(values: dict[str, Any]) -> str:
    topology = values["topology"]
    slices = f" × {topology['slices']}" if topology["slices"] > 1 else ""
    return f"{values['recipe']} on {topology['name']}{slices}: {topology['chips']:,} × {topology['chip']}"


def describe_search(values: dict[str, Any]) -> str:
    """Returns the values of `at_scale.search` as lines of text, best layout first."""
    rows = [_title(values)]
    for n, one in enumerate(values["layouts"], 1):
        head = f"{n}. {division(one)}"
        if one.get("mfu") is None or not one["fits"]:
            rows += [head, f"     does not fit: {memory_line(one['memory'])}"]
            continue
        rows += [head, f"     {_speed(one)}", f"     {memory_line(one['memory'])}", f"     {_time(one)}"]
    noted = dict.fromkeys(note for one in values["layouts"] for note in one["notes"])
    return "\n".join([*rows, *(line for note in noted for line in textwrap.wrap(f"note: {note}", _WIDTH))])


def division(values: dict[str, Any]) -> str:
    """Returns the mesh, ZeRO and rematerialization of a plan's values, or of those of `search.meshes.settings`."""
    axes = " · ".join(f"{axis} {size}" for axis, size in values["mesh"].items()) or "one device"
    how = f", {values['reproducible']}" if "reproducible" in values else ""
    return f"{axes}, zero {values['zero']}, rematerialize {values['rematerialize']}{how}"


def memory_line(memory: dict[str, int]) -> str:
    """Returns the memory of a plan's values."""
    whole = f"{_size(memory['peak'])} of {_size(memory['capacity'])} a chip"
    parts = [f"{_size(memory[name])} {name}" for name in ("arguments", "temporaries", "code") if memory.get(name)]
    verdict = "" if memory["peak"] <= memory["capacity"] else ", too much"
    return whole + verdict + (f": {', '.join(parts)}" if parts else "")


def _batch(values: dict[str, Any]) -> str:
    size = f"{values['batch']['sequences']:,} sequences ({values['batch']['tokens']:,} tokens)"
    if values.get("mfu") is None:
        return f"{size}: does not fit; the compiler asks for {_size(values['memory']['peak'])}"
    return f"{size}: {_speed(values)}"


def _speed(values: dict[str, Any]) -> str:
    roofline = values["roofline"]
    return (
        f"{values['step_seconds']:.3g} s a step, {values['tokens_per_second']:,.0f} tokens/s, "
        f"MFU {values['mfu']:.1%}, HFU {values['hfu']:.1%} (rooflines alone {roofline['mfu']:.1%}, "
        f"{roofline['hfu']:.1%})"
    )


def _time(values: dict[str, Any]) -> str:
    shares = ((name.replace("_", " "), part / values["step_seconds"]) for name, part in values["time"].items())
    return "time: " + ", ".join(f"{name} {share:.0%}" for name, share in shares)


def _size(bytes_: int) -> str:
    return f"{bytes_ / 2**30:.2f} GiB" if bytes_ >= 2**27 else f"{bytes_ / 2**20:.1f} MiB"


def details(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns the labelled lines about what a step's time goes into."""
    rows = [
        ("FLOPs", f"{values['flops']['program']:.4g} a chip, {values['flops']['ratio']:.2f} of the formula's"),
        ("time", _time(values).removeprefix("time: ")),
    ]
    for n, row in enumerate(values["collectives"]):
        text = (
            f"{row['network']} ({row['reach']}): {row['kind']} {row['bytes'] / 1e9:,.2f} GB in {row['seconds']:.3g} s, "
            f"of which {row['waited_seconds']:.3g} s waited for"
        )
        rows.append(("" if n else "network", text))
    hidden = ", ".join(f"{network} {share:.0%}" for network, share in values["overlap"].items())
    rows.append(("overlap", hidden or "no collectives"))
    if unknown := values["loops_of_unknown_length"]:
        rows.append(("counted once", f"loops of unknown length: {', '.join(unknown)}"))
    if uncounted := values["uncounted"]:
        rows.append(("not counted", f"FLOPs of {', '.join(uncounted)}"))
    return rows
