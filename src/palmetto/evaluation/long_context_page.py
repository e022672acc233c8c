"""Writes the results of `palmetto long-context`: values, a table, a figure and a page of perplexity by position."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from palmetto.evaluation.long_context import Curve
from palmetto.files import write_text
from palmetto.report import markup, svg
from palmetto.report.canvas import DASHED, NARROW, STYLE, canvas, label_ends, say_empty, write_png
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.curves import compact
from palmetto.report.frame import frame

_BUCKETS = 32
"""The number of points in a curve of the figure, each the mean of a range of positions."""


def write(curves: list[Curve], trained: int, folder: Path, directory: str) -> None:
    """Writes long-context.json, .md, .html and .png into a folder; the same curves give the same bytes.

    curves: the curve of the model as trained, then that of each change. directory: the run directory's name.
    """
    write_text(folder / "long-context.json", json.dumps(values(curves, trained), indent=1) + "\n")
    write_text(folder / "long-context.md", table(curves, trained))
    write_text(folder / "long-context.html", html(curves, trained, directory))
    write_png(figure(curves, trained), folder / "long-context.png")


def values(curves: list[Curve], trained: int) -> dict[str, Any]:
    """Returns the mean loss over stretches of the trained length, and the loss by position, as plain values."""
    return {
        "trained_length": trained,
        "ways": [
            {
                "name": curve.way.name,
                "change": curve.way.what,
                "loss_by_stretch": curve.losses.reshape(-1, trained).mean(axis=1).round(5).tolist(),
                "loss_by_position": curve.losses.round(5).tolist(),
            }
            for curve in curves
        ],
    }


def table(curves: list[Curve], trained: int) -> str:
    """Returns a Markdown table of perplexities, with a column for each stretch of the trained length."""
    stretches = _stretches(curves, trained)
    lines = [f"| | what is changed | {' | '.join(stretches)} |", "|---|---|" + "---:|" * len(stretches)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in _rows(curves, trained))]) + "\n"


def html(curves: list[Curve], trained: int, name: str) -> str:
    """Returns the page as one self-contained HTML text; `name` is the name of the run."""
    wide, narrow = figure(curves, trained, 1040), figure(curves, trained, 380)
    stretches = ((stretch, "number") for stretch in _stretches(curves, trained))
    shown = markup.table(
        [("", "kind"), ("What is changed", "text"), *stretches],
        (("", map(markup.escape, row)) for row in _rows(curves, trained)),
    )
    return frame(
        title=name,
        mark="Palmetto long context",
        heading=f'<h1>{markup.escape(name)}</h1>\n<p class="verdict">{markup.escape(_verdict(curves, trained))}</p>',
        body=f"""<h2>Perplexity by position</h2>
{svg.wide_and_narrow(wide, narrow, "positions", "Perplexity by position, of each way")}
<h2>Table</h2>
{shown}
<p class="note">Perplexity over stretches of positions: the exponential of the mean loss there, on held-out text.
Each change runs the same parameters in another way; runs that were trained further say so.</p>""",
        footer="Made by <code>palmetto long-context</code>; the loss by position is in <code>long-context.json</code>.",
    )


def _stretches(curves: list[Curve], trained: int) -> list[str]:
    """Returns the positions of each stretch of the trained length, for the head of the table."""
    ends = range(trained, len(curves[0].losses) + 1, trained)
    return [f"{end - trained + 1:,}–{end:,}" for end in ends]


def _perplexities(curve: Curve, trained: int) -> list[float]:
    """Returns the perplexity over each stretch of the trained length."""
    return [float(each) for each in np.exp(curve.losses.reshape(-1, trained).mean(axis=1))]


def _rows(curves: list[Curve], trained: int) -> list[list[str]]:
    return [
        [curve.way.name, curve.way.what, *(f"{each:,.1f}" for each in _perplexities(curve, trained))]
        for curve in curves
    ]


def _verdict(curves: list[Curve], trained: int) -> str:
    """Returns a sentence that says which change has the lowest perplexity at the end."""
    length = len(curves[0].losses)
    as_trained, *others = [(_perplexities(curve, trained)[-1], curve.way.name) for curve in curves]
    least, name = min([as_trained, *others])
    text = f"Trained on {trained:,} positions and run on {length:,}. Over the last {trained:,}, perplexity is lowest"
    if name == as_trained[1]:
        return f"{text} as trained: {least:,.1f}."
    return f"{text} with {name}: {least:,.1f}, against {as_trained[0]:,.1f} as trained."


@STYLE
def figure(curves: list[Curve], trained: int, width: int = 1040) -> Figure:
    """Returns a figure of perplexity by position, with a line for each change and a mark at the trained length.

    `width` is in CSS pixels.
    """
    height, top, bottom = (340 if width < NARROW else 440), 50, 44
    room = 16 + 7 * max(len(curve.way.name) for curve in curves)
    drawn, axes = canvas(width, height, left=44, right=room, top=top, bottom=bottom)
    length = len(curves[0].losses)
    axes.set_xlim(0, length)
    axes.set_xlabel("position", color=LIGHT["muted"])
    buckets = np.array_split(np.arange(length), min(_BUCKETS, length))
    middles = [bucket.mean() + 0.5 for bucket in buckets]
    lines = [np.exp([curve.losses[bucket].mean() for bucket in buckets]) for curve in curves]
    every = np.concatenate(lines)
    every = every[np.isfinite(every)]
    if len(every):
        _set_scale(axes, float(every.min()), float(every.max()))
    else:
        say_empty(axes)
    labels = []
    # The model as trained, the baseline of the comparison, has the colour of ink.
    colours = [LIGHT["ink"], *(of_choice(number) for number in range(len(curves) - 1))]
    for curve, line, colour in zip(curves, lines, colours, strict=True):
        axes.plot(middles, line, color=colour, linewidth=1.8)
        if np.isfinite(line[-1]):
            labels.append((float(line[-1]), curve.way.name, colour))
    label_ends(axes, height - top - bottom, labels)
    axes.axvline(trained, color=LIGHT["muted"], linewidth=1, linestyle=DASHED, zorder=1)
    axes.text(
        trained, 1.015, "trained up to here", ha="center", color=LIGHT["muted"], transform=axes.get_xaxis_transform()
    )
    drawn.text(8 / width, 1 - 14 / height, "Perplexity by position", va="center", color=LIGHT["ink"])
    return drawn


def _set_scale(axes: Axes, least: float, most: float) -> None:
    """Sets a logarithmic scale, since perplexities can differ by large factors."""
    room = (most / least) ** 0.05 if most > least else 1.1
    axes.set_yscale("log")
    axes.set_ylim(least / room, most * room)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
