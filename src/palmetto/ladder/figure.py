"""Draws the loss of a ladder over compute, over parameters and over tokens. Lengths are in CSS pixels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from palmetto.ladder.plan import Cost
from palmetto.ladder.results import Fitted, Ladder, Prediction, Result
from palmetto.report.canvas import DASHED, NARROW, STYLE, canvas, label_ends, say_empty, set_ticks
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.curves import compact
from palmetto.scaling.laws import Law
from palmetto.scaling.minimizing import Floats

_POINTS = 60
"""The number of points of a drawn law."""
_DRAWS = 200
"""The number of drawn laws that its band shows."""


class _Line(NamedTuple):
    """Holds the runs that one line of a figure joins."""

    label: str
    colour: str
    results: list[Result]
    point: Callable[[float], list[float]]
    """Returns the variables of the law at a place on the horizontal axis."""


@STYLE
def over_compute(ladder: Ladder, width: int = 1040) -> Figure:
    """Draws the loss over compute: the runs, their law with its band, and the prediction with its interval."""
    line = _Line("", LIGHT["train"], _finished(ladder), lambda flops: [flops])
    title = "Loss over compute, nats a token; the horizontal axis is FLOPs"
    return _drawn([line], ladder.compute, lambda at: at.flops, ladder.prediction, title, width)


@STYLE
def over_parameters(ladder: Ladder, width: int = 1040) -> Figure:
    """Draws the loss over parameters, with a line for each number of tokens per parameter."""

    def line(number: int, ratio: float, results: list[Result]) -> _Line:
        label = f"{ratio:g} tokens a parameter"
        return _Line(label, of_choice(number), results, lambda parameters: [parameters, ratio * parameters])

    ratios = dict.fromkeys(sorted(result.rung.ratio for result in ladder.results))
    lines = [
        line(number, ratio, [result for result in _finished(ladder) if result.rung.ratio == ratio])
        for number, ratio in enumerate(ratios)
    ]
    title = "Loss over parameters, nats a token"
    return _drawn(lines, ladder.both, lambda at: at.parameters, ladder.prediction, title, width)


@STYLE
def over_tokens(ladder: Ladder, width: int = 1040) -> Figure:
    """Draws the loss over tokens, with a line for each size."""

    def line(number: int, results: list[Result]) -> _Line:
        parameters = float(results[0].rung.cost.parameters)
        label = f"{compact(parameters)} parameters"
        return _Line(label, of_choice(number), results, lambda tokens: [parameters, tokens])

    sizes = dict.fromkeys(sorted(result.rung.size for result in _finished(ladder)))
    lines = [
        line(number, [result for result in _finished(ladder) if result.rung.size == size])
        for number, size in enumerate(sizes)
    ]
    return _drawn(lines, ladder.both, lambda at: at.tokens, ladder.prediction, "Loss over tokens, nats a token", width)


def _finished(ladder: Ladder) -> list[Result]:
    return [result for result in ladder.results if result.loss is not None]


def _drawn(
    lines: Sequence[_Line],
    fitted: Fitted,
    place: Callable[[Cost], float],
    prediction: Prediction | None,
    title: str,
    width: int,
) -> Figure:
    """Draws runs and laws. place: the horizontal place of a cost."""
    narrow = width < NARROW
    height, top, bottom = (300 if narrow else 380), 34, 44
    names = [line.label for line in lines if line.label] if not narrow else []
    drawn, axes = canvas(width, height, left=50, right=26 + 7 * max(map(len, names), default=2), top=top, bottom=bottom)
    drawn.text(8 / width, 1 - 14 / height, title, va="center", color=LIGHT["ink"])
    everything = [result for line in lines for result in line.results]
    if not everything:
        say_empty(axes)
        return drawn
    ends = [place(result.rung.cost) for result in everything]
    if prediction and prediction.loss is not None:
        ends.append(place(prediction.target.cost))
    low, high = min(ends) / 1.3, max(ends) * 1.3
    _set_scale(axes, low, high)
    labels = []
    for line in lines:
        if line.results and fitted.fit:
            labels.append((_draw_law(axes, line, fitted, np.geomspace(low, high, _POINTS)), line.label, line.colour))
        for result in line.results:
            assert result.loss is not None, "lines join finished runs"
            axes.plot(place(result.rung.cost), result.loss, "o", color=line.colour, markersize=6, zorder=5)
    if prediction and prediction.loss is not None:
        _draw_prediction(axes, place(prediction.target.cost), prediction.loss, prediction)
    if not narrow:
        label_ends(axes, height - top - bottom, labels)
    return drawn


def _draw_law(axes: Axes, line: _Line, fitted: Fitted, places: Floats) -> float:
    """Draws a law with the band of the laws that the runs might have had as well; returns its loss at the end."""
    assert fitted.fit is not None
    points = np.array([line.point(place) for place in places])
    losses = fitted.fit.law(points)
    if fitted.fit.laws is not None:
        some = Law(*(values[:_DRAWS, None] for values in fitted.fit.laws))
        low, high = np.percentile(some(points), (2.5, 97.5), axis=0)
        axes.fill_between(places, low, high, color=line.colour, alpha=0.12, linewidth=0)
    axes.plot(places, losses, color=line.colour, linewidth=1.4)
    return float(losses[-1])


def _draw_prediction(axes: Axes, at: float, loss: float, prediction: Prediction) -> None:
    colour = LIGHT["ink"]
    if prediction.interval is not None:
        axes.plot((at, at), prediction.interval, color=colour, linewidth=2, solid_capstyle="butt", zorder=6)
    axes.plot(at, loss, "_", color=colour, markersize=14, markeredgewidth=2.4, zorder=6)
    if prediction.reached is not None:
        axes.plot(at, prediction.reached, "o", color=colour, markersize=8, markerfacecolor="none", zorder=7)
    axes.axvline(at, color=LIGHT["muted"], linewidth=1, linestyle=DASHED, zorder=1)
    axes.annotate(
        "predicted", (at, 1.015), xycoords=axes.get_xaxis_transform(), ha="center", color=LIGHT["muted"], fontsize=11
    )


def _set_scale(axes: Axes, low: float, high: float) -> None:
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 200 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    set_ticks(axes.yaxis, 7)
