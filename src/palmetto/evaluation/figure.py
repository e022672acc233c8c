"""Draws the scores of an evaluation with their intervals, against what chance scores. Lengths are in CSS pixels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palmetto.evaluation.calibration import Bin
from palmetto.report.canvas import DASHED, NARROW, STYLE, canvas, plain, set_ticks
from palmetto.report.colours import LIGHT
from palmetto.report.scores import certain


def score_axes(
    tasks: Iterable[str], title: str, width: int, top: int, row: int, least: float = 0
) -> tuple[Figure, Axes]:
    """Returns a figure and its axes, which have scores from the least one to 100 and a row for each task.

    top: the height of what is above the axes; the title is its first line. row: the height of a row.
    """
    names = [name if len(name) <= 22 or width >= NARROW else f"{name[:21]}…" for name in tasks]
    bottom, left = 30, 22 + 7 * max(map(len, names))
    height = top + bottom + row * len(names)
    drawn, axes = canvas(width, height, left=left, right=16, top=top, bottom=bottom)
    plain(axes, grid="x")
    axes.set_xlim(least - 1, 101)
    set_ticks(axes.xaxis, 5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    drawn.text(8 / width, 1 - 14 / height, title, va="center", color=LIGHT["ink"])
    return drawn, axes


@STYLE
def figure(tasks: Mapping[str, Mapping[str, Any]], width: int) -> Figure:
    """Returns a figure with a row for each task: its score, its 95 % interval, and a tick at chance.

    What is not above both baselines is grey.
    """
    drawn, axes = score_axes(tasks, "Scores with intervals of 95 %; the tick is chance", width, top=34, row=20)
    for row, values in enumerate(tasks.values()):
        _draw(axes, row, values)
        if values["chance"]:
            _tick(axes, row, values["chance"])
    return drawn


@STYLE
def bias_figure(scores: Mapping[str, Mapping[str, Any]], width: int) -> Figure:
    """Returns a figure with a row for each score of bias, its 95 % interval, and a tick at what is neutral.

    A bias that may be none is grey.
    """
    least = -100 if any(values["neutral"] == 0 for values in scores.values()) else 0
    title = "Bias with intervals of 95 %; the tick is none"
    drawn, axes = score_axes(scores, title, width, top=34, row=20, least=least)
    for row, values in enumerate(scores.values()):
        _draw(axes, row, values)
        _tick(axes, row, values["neutral"])
    return drawn


@STYLE
def reliability(found: Sequence[Bin], width: int = 330, height: int = 170) -> Figure:
    """Returns a figure of accuracy over confidence, with intervals; on the dashed line they are equal."""
    drawn, axes = canvas(width, height, left=48, right=10, top=10, bottom=26)
    axes.plot((0, 1), (0, 1), color=LIGHT["ink"], linewidth=1, linestyle=DASHED)
    most = max(each.count for each in found)
    for each in found:
        size = 3 + 5 * math.sqrt(each.count / most)
        axes.plot((each.confidence,) * 2, each.interval, color=LIGHT["train"], linewidth=1.4, solid_capstyle="butt")
        axes.plot(each.confidence, each.accuracy, color=LIGHT["train"], marker="o", markersize=size)
    axes.set_xlim(0, 1.04)
    axes.set_ylim(-0.03, 1.03)
    set_ticks(axes.xaxis, 4)
    set_ticks(axes.yaxis, 4)
    return drawn


def _draw(axes: Axes, row: int, values: Mapping[str, Any]) -> None:
    colour = LIGHT["train"] if certain(values) else LIGHT["muted"]
    axes.plot(values["interval"], (row, row), color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(values["value"], row, color=colour, marker="o", markersize=6)


def _tick(axes: Axes, row: int, at: float) -> None:
    axes.plot(at, row, color=LIGHT["ink"], marker="|", markersize=12, zorder=4)
