"""Provides what all figures share: style, canvas, scales and labels.

Figures use matplotlib without pyplot's global state. Lengths are CSS pixels (72 to matplotlib's inch): saving with
dpi=72 gives a figure's own size, dpi=144 twice the resolution.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from palmetto.files import atomic
from palmetto.report.colours import LIGHT
from palmetto.report.curves import compact, spread

STYLE = matplotlib.style.context({"font.size": 12}, after_reset=True)
"""A decorator for drawing functions: it replaces the user's settings by matplotlib's defaults and these."""

NARROW = 600
"""Figures narrower than this have short labels."""

ROUND = [1, 2, 2.5, 5, 10]
"""The leading digits of distances between ticks."""

DASHED = (0, (4, 3))
"""The line style of reference lines."""


def canvas(width: int, height: int, *, left: int, right: int, top: int, bottom: int) -> tuple[Figure, Axes]:
    """Returns a figure and its axes, with margins that do not depend on the labels."""
    figure = Figure(figsize=(width / 72, height / 72), facecolor=LIGHT["paper"])
    frame = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    axes = figure.add_axes(frame, facecolor="none")
    plain(axes, grid="y")
    set_ticks(axes.xaxis, max(3, width // 110), whole=True)
    return figure, axes


def plain(axes: Axes, grid: Literal["x", "y"]) -> None:
    """Reduces axes to the bottom line, labels without tick marks, and a grid at the ticks of one axis."""
    axes.grid(axis=grid, color=LIGHT["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=LIGHT["muted"])
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LIGHT["muted"])


def set_ticks(axis: Axis, most: int, show: Callable[[float], str] = compact, *, whole: bool = False) -> None:
    """Puts ticks at round numbers, with at most `most` intervals; whole: only at integers."""
    axis.set_major_locator(MaxNLocator(most, steps=ROUND, integer=whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))


def draw_reference(axes: Axes, value: float, name: str) -> None:
    """Draws a dashed horizontal line at a reference value, with its name on the right."""
    axes.axhline(value, color=LIGHT["ink"], linewidth=1, linestyle=DASHED, zorder=3)
    axes.annotate(
        name,
        (1, value),
        (5, 0),
        xycoords=axes.get_yaxis_transform(),
        textcoords="offset points",
        va="center",
        color=LIGHT["muted"],
        annotation_clip=False,
    )


def label_ends(axes: Axes, height: int, labels: Iterable[tuple[float, str, str]]) -> None:
    """Labels the right-hand ends of curves: (value, text, colour); labels are moved apart if they would overlap.

    height: the height of the axes, whose limits are set.
    """
    labels = list(labels)
    scale = axes.transScale + axes.transLimits
    places = [float(scale.transform((0, value))[1]) * height for value, _, _ in labels]
    for (_, text, colour), place in zip(labels, spread(places, 15), strict=True):
        axes.annotate(
            text,
            (1, place / height),
            (7, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
            parse_math=False,
        )


def say_empty(axes: Axes) -> None:
    """Writes on the axes that there is nothing to draw."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.text(0.5, 0.5, "nothing to draw", transform=axes.transAxes, ha="center", va="center", color=LIGHT["muted"])


def write_png(figure: Figure, file: Path) -> None:
    """Writes a picture of twice the figure's size; the same figure gives the same bytes."""
    with atomic(file) as opened:
        figure.savefig(opened, format="png", dpi=144, metadata={"Software": None})
