"""Draws the figure of a sweep: the loss of each choice by step and at the end. Lengths are in CSS pixels."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palmetto.report.canvas import DASHED, NARROW, STYLE, canvas, label_ends, plain, say_empty, set_ticks
from palmetto.report.colours import LIGHT, of_choice
from palmetto.report.curves import Floats
from palmetto.sweeps.results import Sweep
from palmetto.training.report.record import Validations


@STYLE
def figure(sweep: Sweep, width: int = 1040) -> Figure:
    """Draws the validation loss by step above, and the final loss of every seed below.

    By step, each choice has its mean over seeds, a band from the lowest to the highest seed, and dotted lines for
    failed runs.
    """
    narrow = width < NARROW
    rows = 24 * len(sweep.choices) + 8
    curves, top, between, bottom = (260 if narrow else 340), 34, 84, 42
    height = top + curves + between + rows + bottom
    names = [_shortened(choice.label, 16 if narrow else 36) for choice in sweep.choices]
    room = 26 + 7 * max(map(len, names))
    drawn, axes = canvas(width, height, left=44, right=room, top=top, bottom=height - top - curves)
    _draw_curves(axes, sweep, names, curves)
    right = 118 if narrow else 200
    frame = (room / width, bottom / height, 1 - (room + right) / width, rows / height)
    below = drawn.add_axes(frame, facecolor="none")
    _draw_ends(below, sweep, names, narrow)
    over = "" if narrow else ": mean and range over seeds"
    by = f", by {', '.join(sweep.axes)}" if sweep.axes and not narrow else ""
    for above, text in (
        (height - 14, f"Validation loss by step{over}, nats a token"),
        (rows + bottom + 22, f"At the last step: every seed, and the mean{by}"),
    ):
        drawn.text(8 / width, above / height, text, va="center", color=LIGHT["ink"], parse_math=False)
    return drawn


def _draw_curves(axes: Axes, sweep: Sweep, names: list[str], height: int) -> None:
    """Draws the losses by step. height: the height of the axes."""
    measured = [point.validations for point in sweep.points if len(point.validations.step)]
    last = max((float(found.step[-1]) for found in measured), default=1.0)
    axes.set_xlim(-0.006 * last, 1.006 * last)
    axes.set_xlabel("step", color=LIGHT["muted"])
    low, high, ends = math.inf, -math.inf, []
    for number in range(len(sweep.choices)):
        colour = of_choice(number)
        step, losses = _together([p.validations for p in sweep.of(number) if p.status == "done"])
        for point in sweep.of(number):
            if point.status == "failed":
                axes.plot(*point.validations, color=colour, linewidth=1, linestyle=":", alpha=0.8)
        if not len(step):
            continue
        marker = "o" if len(step) <= 20 else ""
        axes.fill_between(step, losses.min(0), losses.max(0), color=colour, alpha=0.15, linewidth=0)
        axes.plot(step, losses.mean(0), color=colour, linewidth=1.6, marker=marker, markersize=3.5, zorder=4)
        late = losses[:, step >= min(last / 2, step[-1])]
        low, high = min(low, float(late.min())), max(high, float(late.max()))
        ends.append((float(losses[:, -1].mean()), names[number], colour))
    if not ends:
        say_empty(axes)
        return
    # The first half, in which all losses fall alike, may lie above the upper edge; otherwise it would hide differences.
    span = high - low or 1.0
    axes.set_ylim(low - 0.15 * span, high + 0.1 * span)
    set_ticks(axes.yaxis, 7)
    label_ends(axes, height, ends)


def _together(found: list[Validations]) -> tuple[Floats, Floats]:
    """Returns the steps at which all runs were measured, and their losses there, [runs, steps]."""
    if not found:
        return np.empty(0), np.empty((0, 0))
    common = [step for step in found[0].step if all(step in other.step for other in found[1:])]
    return np.array(common), np.stack([run.loss[np.isin(run.step, common)] for run in found])


def _draw_ends(axes: Axes, sweep: Sweep, names: list[str], narrow: bool) -> None:
    """Draws a row for each choice: its name, a dot for each seed, a bar at the mean, and the numbers."""
    count, digits = len(sweep.choices), 3 if narrow else 4
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    plain(axes, grid="x")
    axes.set_xlabel("nats a token", color=LIGHT["muted"])
    every = [loss for number in range(count) for loss in sweep.losses(number).values()]
    if every:
        margin = 0.06 * (max(every) - min(every)) or 0.05
        axes.set_xlim(min(every) - margin, max(every) + margin)
    set_ticks(axes.xaxis, 5)
    first = sweep.statistics(0).mean
    if first is not None and count > 1:
        axes.axvline(first, color=LIGHT["muted"], linewidth=1, linestyle=DASHED, zorder=1)
    for number in range(count):
        colour, losses, found = of_choice(number), list(sweep.losses(number).values()), sweep.statistics(number)
        axes.plot(
            losses,
            [number] * len(losses),
            "o",
            color=colour,
            markersize=6,
            alpha=0.5,
            markeredgewidth=0,
            clip_on=False,
            zorder=4,
        )
        if found.mean is not None:
            axes.plot(found.mean, number, "|", color=colour, markersize=17, markeredgewidth=2.2, zorder=5)
        failed = sum(point.status == "failed" for point in sweep.of(number))
        text = "" if found.mean is None else f"{found.mean:.{digits}f}"
        if found.deviation is not None and not (narrow and failed):
            text += f" ± {found.deviation:.{digits}f}"
        if failed:
            text += f"{', ' if text else ''}{failed} failed"
        for place, shift, align, shown in ((0, -9, "right", names[number]), (1, 9, "left", text)):
            axes.annotate(
                shown,
                (place, number),
                (shift, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha=align,
                va="center",
                color=colour,
                annotation_clip=False,
                parse_math=False,
            )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
