"""Draws a score of evaluations over what differs between them, such as the step. Lengths are in CSS pixels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from palmetto.report.canvas import STYLE, canvas, draw_reference, set_ticks
from palmetto.report.colours import LIGHT


class Point(NamedTuple):
    """Holds a score, where it stands on the axis, and its interval of 95 %."""

    at: float
    value: float
    low: float
    high: float
    certain: bool
    """True if the score can be told from what guessing, or always taking one place, would score."""


def certain(values: Mapping[str, Any]) -> bool:
    """Returns whether a score's interval lies above chance, and above always taking the best place.

    That of a bias must not hold what is neutral. A score of which lower is better, such as toxicity, is no skill.
    """
    low, high = values["interval"]
    if "neutral" in values:
        return not low <= values["neutral"] <= high
    above = low > max(values["chance"], values["majority"])
    return bool(above and values.get("higher_is_better", True))


def baseline(values: Mapping[str, Any]) -> dict[str, float]:
    """Returns the score that a score is compared with, by its name: what is neutral of a bias, otherwise chance."""
    name = "neutral" if "neutral" in values else "chance"
    return {name: values[name]}


def point(at: float, values: Mapping[str, Any]) -> Point:
    """Returns the point of a task's results."""
    low, high = values["interval"]
    return Point(at, values["value"], low, high, certain(values))


@STYLE
def curve(
    points: Sequence[Point],
    references: Mapping[str, float],
    *,
    ratio: bool = False,
    width: int = 330,
    height: int = 170,
) -> Figure:
    """Returns a figure of scores with their intervals; those that cannot be told from chance are grey.

    points: in the order of the axis. references: drawn as dashed lines with their names, such as chance, unless they
    are 0. ratio: the axis is logarithmic.
    """
    lines = {name: value for name, value in references.items() if value}
    right = 10 + max((7 * len(name) for name in lines), default=0)
    figure, axes = canvas(width, height, left=48, right=right, top=10, bottom=26)
    if ratio:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks([point.at for point in points])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.3g}" if value < 1000 else f"{value / 1000:,.3g}k")
    axes.plot([each.at for each in points], [each.value for each in points], color=LIGHT["muted"], linewidth=1.2)
    for each in points:
        colour = LIGHT["train"] if each.certain else LIGHT["muted"]
        axes.plot((each.at, each.at), (each.low, each.high), color=colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(each.at, each.value, color=colour, marker="o", markersize=5, zorder=5)
    set_ticks(axes.yaxis, 4)
    for name, value in lines.items():
        draw_reference(axes, value, name)
    return figure
