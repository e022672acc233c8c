"""Draws a run's figures over its steps: the loss, and a panel for each other quantity. Lengths are in CSS pixels."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from palmetto.recipe.objectives import loss_unit
from palmetto.report.canvas import DASHED, NARROW, STYLE, canvas, draw_reference, label_ends, say_empty, set_ticks
from palmetto.report.colours import LIGHT
from palmetto.report.curves import Floats, compact, crest, smooth, thin
from palmetto.training.report.record import Bools, Record, Rollback

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Panel(NamedTuple):
    """A quantity over the steps, with a value for each ledger line."""

    title: str
    values: Floats
    show: Callable[[float], str] = compact
    """The function that writes a value."""
    noisy: bool = False
    """True if the curve is drawn faint, with a strong curve of means over neighbouring steps."""
    from_zero: bool = True
    """True if the scale begins at 0."""
    tokens: int | None = None
    """The factor of a second scale on the right, or None for no such scale."""
    whole: bool = False
    """True if the values are whole numbers."""
    reference: tuple[float, str] | None = None
    """A value to compare with and its name, drawn as a dashed line that is always on the scale."""


def percent(share: float) -> str:
    """Writes a share as a percentage."""
    return f"{100 * share:.3g}%"


def _power_of_two(exponent: float) -> str:
    return "2" + f"{exponent:.0f}".translate(_SUPERSCRIPTS)


def panels(record: Record) -> list[Panel]:
    """Returns the panels of all quantities except the loss."""
    length = record.recipe.tokens.sequence_length
    seen = np.cumsum(np.where(record.live, record.sequences, 0.0)) * length
    scaled = np.isfinite(record.loss_scale).any()
    exponent = Panel("Loss scale", np.log2(record.loss_scale), _power_of_two, from_zero=False, whole=True)
    return [
        Panel("Learning rate", record.learning_rate),
        Panel("Batch: sequences, tokens", record.sequences, tokens=length),
        Panel("Tokens seen", np.where(record.live, seen, np.nan)),
        Panel("Gradient norm", record.grad_norm, noisy=True),
        Panel("Parameter norm", record.parameter_norm, from_zero=False),
        Panel("log² Z", record.z, noisy=True),
        Panel("Tokens a second", record.tokens_per_second, noisy=True),
        Panel("Model FLOPs utilization", record.mfu, show=percent, noisy=True),
        Panel("Seconds a step", record.seconds, noisy=True),
        *([exponent] if scaled else []),
    ]


@STYLE
def panel_figure(record: Record, panel: Panel, width: int = 330, height: int = 170) -> Figure:
    """Draws a panel's curve: the live path strong, rolled-back attempts faint, with their steps shaded."""
    right = 50 if panel.tokens or panel.reference else 10
    figure, axes = canvas(width, height, left=48, right=right, top=10, bottom=26)
    column = _set_steps(axes, record, width)
    values, shown = panel.values, np.isfinite(panel.values)
    _shade_rollbacks(axes, record)
    if shown.any():
        top = min(float(values[shown].max()), 2 * crest(values[record.live]))
        bottom = 0.0 if panel.from_zero else float(values[shown].min())
        if panel.reference:
            top, bottom = max(top, panel.reference[0]), min(bottom, panel.reference[0])
        room = 0.06 * (top - bottom) or 0.06 * abs(top) or 1.0
        axes.set_ylim(bottom if panel.from_zero else bottom - room, top + room)
        for attempt in np.unique(record.attempt[~record.live]):
            _draw(axes, record, ~record.live & (record.attempt == attempt), values, column, "rollback", 0.8, 0.55)
        if panel.noisy:
            _draw(axes, record, record.live, values, column, "train", 0.8, 0.4)
            values = _smoothed(record, values, top)
        _draw(axes, record, record.live, values, column, "train", 1.4)
        set_ticks(axes.yaxis, 4, panel.show, whole=panel.whole)
        if panel.tokens:
            _scale_in_tokens(axes, sorted(set(values))[-4:], panel.tokens)
        if panel.reference:
            draw_reference(axes, *panel.reference)
    else:
        say_empty(axes)
    return figure


@STYLE
def loss_figure(record: Record, width: int = 1040, height: int = 400) -> Figure:
    """Draws training and validation loss, the unigram entropy, and every rollback and skipped step."""
    narrow = width < NARROW
    top_margin = 30 if record.rollbacks else 12
    figure, axes = canvas(width, height, left=36, right=102 if narrow else 152, top=top_margin, bottom=44)
    column = _set_steps(axes, record, width)
    axes.set_xlabel("step", color=LIGHT["muted"])
    top = _set_losses(axes, record)
    level = _smoothed(record, record.loss, top)[record.live]
    _shade_rollbacks(axes, record)
    for attempt in np.unique(record.attempt[~record.live]):
        _draw(axes, record, ~record.live & (record.attempt == attempt), record.loss, column, "rollback", 0.9, 0.6)
    _draw(axes, record, record.live, record.loss, column, "train", 0.8, 0.4)
    axes.plot(*thin(record.step[record.live], level, column), color=LIGHT["train"], linewidth=1.8, zorder=4)
    _mark_rollbacks(axes, record, level, column)
    _mark_skipped(axes, record, column)

    labels, digits = [], 2 if narrow else 3
    if len(level) and math.isfinite(level[-1]):
        labels.append((float(level[-1]), "train", "train"))
    dead, measured = record.dead_validations, record.validations
    marker = "o" if len(measured.step) <= (20 if narrow else 60) else ""
    axes.plot(*dead, "o", color=LIGHT["rollback"], markersize=4.5, alpha=0.7, zorder=5)
    axes.plot(
        *measured, color=LIGHT["validation"], linewidth=1.2, marker=marker, markersize=4.5, zorder=5, clip_on=False
    )
    if len(measured.loss) and math.isfinite(measured.loss[-1]):
        labels.append((float(measured.loss[-1]), "validation", "validation"))
    if (entropy := record.unigram_entropy) is not None:
        axes.axhline(entropy, color=LIGHT["ink"], linewidth=1, linestyle=DASHED, zorder=3)
        labels.append((entropy, "unigram" if narrow else "unigram entropy", "ink"))
    label_ends(
        axes,
        height - top_margin - 44,
        ((value, f"{value:.{digits}f} {name}", LIGHT[colour]) for value, name, colour in labels),
    )
    axes.annotate(
        loss_unit(record.recipe.training.objective),
        (1, 0),
        (7, -30),
        xycoords="axes fraction",
        textcoords="offset points",
        color=LIGHT["muted"],
        annotation_clip=False,
    )
    return figure


def smoothing_window(record: Record) -> int:
    """Returns the number of steps in a mean of the training loss: a fortieth of all, from 5 to 1,000."""
    return min(max(5, int(record.live.sum()) // 40), 1000)


def _smoothed(record: Record, values: Floats, top: float) -> Floats:
    """Returns means of the live path's values, each counted as at most `top`, and NaN on other attempts."""
    means = np.full(len(values), np.nan)
    means[record.live] = smooth(np.minimum(values[record.live], top), smoothing_window(record))
    return means


def _scale_in_tokens(axes: Axes, sizes: list[float], tokens: int) -> None:
    """Sets ticks at these batch sizes, in sequences on the left and in tokens on the right."""
    axes.set_yticks([0.0, *sizes])
    right = axes.secondary_yaxis("right")
    right.set_yticks(sizes, [compact(size * tokens) for size in sizes])
    right.tick_params(length=0, labelcolor=LIGHT["muted"])
    right.spines["right"].set_visible(False)


def _set_steps(axes: Axes, record: Record, width: int) -> float:
    """Sets the horizontal scale, and returns the number of steps in a pixel."""
    last = max(1.0, float(record.step.max(initial=0.0)))
    axes.set_xlim(-0.006 * last, 1.006 * last)
    return last / width


def _set_losses(axes: Axes, record: Record) -> float:
    """Sets the vertical scale so that a spike above the first loss may lie beyond it; returns its upper end."""
    entropy = [] if record.unigram_entropy is None else [record.unigram_entropy]
    expected = np.concatenate([record.validations.loss, record.loss[:1], entropy])
    every = np.concatenate([expected, record.loss, record.dead_validations.loss])
    every, expected = every[np.isfinite(every)], expected[np.isfinite(expected)]
    if not len(every):
        say_empty(axes)
        return math.inf
    top = min(float(every.max()), 1.25 * float(expected.max(initial=crest(record.loss[record.live]))))
    room = 0.05 * (top - float(every.min())) or 0.5
    axes.set_ylim(float(every.min()) - room, top + room)
    set_ticks(axes.yaxis, 7)
    return top


def _draw(
    axes: Axes, record: Record, which: Bools, values: Floats, column: float, colour: str, width: float, alpha: float = 1
) -> None:
    """Draws a curve through some of the ledger lines, and marks values beyond the scale at its upper edge."""
    steps, drawn = thin(record.step[which], values[which], column)
    marker = "o" if len(steps) == 1 else ""
    axes.plot(steps, drawn, color=LIGHT[colour], linewidth=width, alpha=alpha, marker=marker, markersize=4)
    beyond = steps[drawn > axes.get_ylim()[1]]
    _along_edge(axes, beyond, column, 0.985, "^", LIGHT[colour])


def _along_edge(axes: Axes, steps: Floats, column: float, height: float, marker: str, colour: str) -> None:
    """Draws markers at some steps and one height, a share of the axes, at most one in 4 pixels."""
    kept = steps[np.unique(np.floor(steps / (4 * column)), return_index=True)[1]]
    if len(kept):
        axes.plot(
            kept,
            np.full(len(kept), height),
            marker,
            color=colour,
            markersize=4.5,
            markeredgewidth=1.1,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            zorder=6,
        )


def _shade_rollbacks(axes: Axes, record: Record) -> None:
    for rollback in record.rollbacks:
        axes.axvspan(rollback.target, rollback.detected, color=LIGHT["rollback"], alpha=0.1, linewidth=0, zorder=0)


def _mark_rollbacks(axes: Axes, record: Record, level: Floats, column: float) -> None:
    """Draws each spike in bold, a diamond where training continued with other batches, and the rollback's number."""
    steps = record.step[record.live]
    for rollback in record.rollbacks:
        spike = ~record.live & (record.attempt == rollback.attempt - 1)
        spike &= record.step >= (rollback.onset or rollback.detected)
        axes.plot(*thin(record.step[spike], record.loss[spike], column), color=LIGHT["rollback"], linewidth=2, zorder=4)
        at = np.flatnonzero(steps == rollback.target)
        if len(at):
            axes.plot(rollback.target, level[at[0]], "D", color=LIGHT["rollback"], markersize=5, zorder=6)
    for first, last in _neighbours(record.rollbacks, 90 * column):
        name = f"rollback {first.attempt}" if first == last else f"rollbacks {first.attempt}–{last.attempt}"
        middle = (_middle(first) + _middle(last)) / 2
        axes.text(middle, 1.015, name, ha="center", color=LIGHT["rollback"], transform=axes.get_xaxis_transform())


def _neighbours(rollbacks: list[Rollback], distance: float) -> list[tuple[Rollback, Rollback]]:
    """Returns the first and last of each group of rollbacks whose names would overlap, less than `distance` apart."""
    groups: list[tuple[Rollback, Rollback]] = []
    for rollback in rollbacks:
        if groups and abs(_middle(rollback) - _middle(groups[-1][1])) < distance:
            groups[-1] = (groups[-1][0], rollback)
        else:
            groups.append((rollback, rollback))
    return groups


def _middle(rollback: Rollback) -> float:
    return (rollback.target + rollback.detected) / 2


def _mark_skipped(axes: Axes, record: Record, column: float) -> None:
    """Draws a cross at the lower edge for each step whose update was skipped because of a NaN or Inf."""
    for counts, colour in ((record.live, "train"), (~record.live, "rollback")):
        _along_edge(axes, record.step[counts & record.skipped], column, 0.03, "x", LIGHT[colour])
