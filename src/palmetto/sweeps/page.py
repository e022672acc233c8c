"""Writes the results of a sweep: a table, a figure and a page."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.style

from palmetto.files import atomic, write_text
from palmetto.report import svg
from palmetto.report.canvas import write_png
from palmetto.report.curves import compact
from palmetto.report.frame import frame
from palmetto.report.markup import escape, table
from palmetto.sweeps.figure import figure
from palmetto.sweeps.results import Point, Sweep

_NUMBERS = ("parameters", "active", "FLOPs a token", "seeds", "validation loss", "difference")


def write(sweep: Sweep, out: Path) -> None:
    """Writes sweep.json, sweep.md, sweep.html, sweep.png and sweep.svg; the same results give the same bytes."""
    write_text(out / "sweep.json", json.dumps(values(sweep), indent=2, ensure_ascii=False) + "\n")
    write_text(out / "sweep.md", markdown(sweep))
    write_text(out / "sweep.html", html(sweep))
    drawn = figure(sweep)
    write_png(drawn, out / "sweep.png")
    with matplotlib.style.context({"svg.hashsalt": "sweep"}, after_reset=True), atomic(out / "sweep.svg") as file:
        drawn.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))


def values(sweep: Sweep) -> dict[str, Any]:
    """Returns the sweep as plain values, with a record for each choice and each point."""
    return {
        "recipe": sweep.name,
        "axes": list(sweep.axes),
        "fixed": list(sweep.fixed),
        "seeds": sweep.seeds,
        "comparable": sweep.comparable,
        "choices": [
            {
                "values": dict(zip(sweep.axes, choice.values, strict=True)),
                "overrides": list(choice.overrides),
                "parameters": {"total": choice.parameters, "active": choice.active},
                "flops_per_token": choice.flops_per_token,
                "validation_loss": sweep.statistics(number)._asdict(),
            }
            for number, choice in enumerate(sweep.choices)
        ],
        "points": [
            {
                "directory": point.directory,
                "overrides": [*sweep.fixed, *choice.overrides],
                "seed": point.seed,
                "status": point.status,
                "reason": point.reason or None,
                "parameters": {"total": choice.parameters, "active": choice.active},
                "flops_per_token": choice.flops_per_token,
                "steps": point.steps,
                "validation_loss": point.loss,
                "digest": point.digest,
            }
            for point in sweep.points
            for choice in [sweep.choices[point.choice]]
        ],
    }


def markdown(sweep: Sweep) -> str:
    """Returns the table, the settings that all its rows share, and the failed points in Markdown."""
    head = [*sweep.axes, *_NUMBERS]
    rows = [head, ["---"] * len(sweep.axes) + ["---:"] * len(_NUMBERS), *_rows(sweep)]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    failed = "".join(f"- {_name(sweep, point)}: {point.reason}\n" for point in sweep.failed)
    return (
        f"# {sweep.name}: {_counted(sweep)}\n\n"
        + "".join(f"- {line}\n" for line in _header(sweep))
        + "\n"
        + "".join(f"| {line} |\n" for line in lines)
        + "\n"
        + "\n\n".join(_notes(sweep))
        + "\n"
        + (f"\n## Failed\n\n{failed}" if failed else "")
    )


def html(sweep: Sweep) -> str:
    """Returns the page, one self-contained HTML text."""
    head = [*((axis, "kind") for axis in sweep.axes), *((number, "number") for number in _NUMBERS)]
    shown = table(head, (("", map(escape, row)) for row in _rows(sweep)))
    failed = table(
        [("Point", "kind"), ("Why", "text")],
        (("", (escape(_name(sweep, point)), escape(point.reason))) for point in sweep.failed),
    )
    wide, narrow = figure(sweep, 1040), figure(sweep, 380)
    drawn = svg.wide_and_narrow(wide, narrow, "sweep", "Validation loss by step, and at the end of every run")
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in _notes(sweep))
    key = "".join(f"<li>{escape(line)}</li>" for line in _header(sweep))
    return frame(
        title=sweep.name,
        mark="Palmetto sweep",
        heading=f"""<h1>{escape(sweep.name)}</h1>
<p class="verdict">{escape(_verdict(sweep))}</p>
<ul class="key">{key}</ul>""",
        body=f"""<h2>Validation loss</h2>
{drawn}
<h2>Table</h2>
{shown}
{notes}
{f"<h2>Failed</h2>{failed}" if sweep.failed else ""}""",
        footer="Made by <code>palmetto sweep</code>; the same is in <code>sweep.json</code>.",
    )


def _counted(sweep: Sweep) -> str:
    """Returns the numbers of choices and seeds in words."""
    numbers = ((len(sweep.choices), "choice"), (sweep.seeds, "seed"))
    return " × ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in numbers)


def _header(sweep: Sweep) -> list[str]:
    """Returns the overrides that all rows share, and those of labels that do not spell them out."""
    lines = [f"every point: {', '.join(sweep.fixed)}"] if sweep.fixed else []
    for choice in sweep.choices:
        plain = tuple(f"{axis}={value}" for axis, value in zip(sweep.axes, choice.values, strict=False))
        if sweep.axes and choice.overrides != plain:
            lines.append(f"{choice.label}: {', '.join(choice.overrides) or 'the recipe as it is'}")
    return lines


def _notes(sweep: Sweep) -> list[str]:
    notes = [
        "Validation loss: nats a token at the last step, mean ± standard deviation over the seeds. Difference: to the "
        "first row, paired by seed, ± its standard error."
    ]
    if not sweep.comparable:
        notes.append(
            "The choices differ in text or tokens, so that a nat a token means something else for each: neither losses "
            "nor differences can be compared."
        )
    return notes


def _rows(sweep: Sweep) -> Iterator[list[str]]:
    for number, choice in enumerate(sweep.choices):
        found = sweep.statistics(number)
        others = [
            f"{count} {status}"
            for status in ("failed", "waiting")
            if (count := sum(point.status == status for point in sweep.of(number)))
        ]
        yield [
            *choice.values[: len(sweep.axes)],
            f"{choice.parameters:,}",
            f"{choice.active:,}",
            compact(choice.flops_per_token),
            ", ".join([str(found.seeds), *others]),
            _with_error(found.mean, found.deviation),
            _with_error(found.difference, found.standard_error, sign="+"),
        ]


def _with_error(value: float | None, error: float | None, sign: str = "") -> str:
    if value is None:
        return "—"
    return f"{value:{sign}.4f}".replace("-", "−") + ("" if error is None else f" ± {error:.4f}")


def _name(sweep: Sweep, point: Point) -> str:
    return f"{sweep.choices[point.choice].label} seed {point.seed}"


def _verdict(sweep: Sweep) -> str:
    found = [(mean, number) for number in range(len(sweep.choices)) if (mean := sweep.statistics(number).mean)]
    if not found:
        return f"{_counted(sweep)}; no run is finished."
    mean, best = min(found)
    text = f"{_counted(sweep)}. Validation loss {mean:.4f}"
    if len(sweep.choices) > 1:
        text = f"{_counted(sweep)}. Lowest mean validation loss: {mean:.4f}, {sweep.choices[best].label}"
        against = sweep.statistics(best)
        if against.difference is not None:
            difference = _with_error(against.difference, against.standard_error, sign="+")
            text += f" ({difference} to {sweep.choices[0].label})"
    return f"{text}."
