"""Draws the figures of routers and of the experts' loads. Lengths are in CSS pixels."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from palmetto.report.canvas import STYLE, canvas, draw_reference, say_empty, set_ticks
from palmetto.report.colours import LIGHT
from palmetto.report.curves import Floats
from palmetto.training.report import experts
from palmetto.training.report.experts import Loads
from palmetto.training.report.figures import Panel, percent
from palmetto.training.report.record import Bools, Record

_HALF_OCTAVES = 4
"""The number of colour steps, each a factor √2, above and below an even load."""


def expert_panels(record: Record) -> list[Panel]:
    """Returns the panels about the routers of a model with experts."""
    routing, settings = record.routing, record.recipe.model.experts
    assert routing is not None
    assert settings is not None
    even = (1.0, "even")
    least, most = experts.extremes(record)
    dropped = Panel("Dropped assignments", routing.dropped, percent, noisy=True)
    return [
        *([dropped] if settings.capacity_factor is not None else []),
        Panel(
            "Gate entropy, nats",
            routing.entropy,
            noisy=True,
            reference=(math.log(settings.count), f"log {settings.count}"),
        ),
        Panel("Balance loss", routing.balance, noisy=True, from_zero=False, reference=even),
        Panel("Router log² Z", routing.z, noisy=True),
        Panel("Least loaded expert", least, reference=even),
        Panel("Most loaded expert", most, reference=even),
    ]


@STYLE
def load_figure(found: Loads, place: int, width: int = 330) -> Figure:
    """Draws the loads of one layer over the steps: a row for each expert, a colour for each half octave from even.

    place: the layer's index in `found.layers`. The experts most loaded at the end are at the top.
    """
    order = experts.rows(found, place)
    thickness = max(3, min(16, 150 // len(order)))
    figure, axes = canvas(width, thickness * len(order) + 30, left=48, right=10, top=4, bottom=26)
    axes.grid(visible=False)
    axes.set_xlim(0, found.edges[-1])
    axes.set_ylim(-0.5, len(order) - 0.5)
    apart = -(-12 // thickness)
    axes.set_yticks(range(0, len(order), apart), [str(number) for number in order[::apart]])
    steps = shades(found.load[:, place, order].T)
    for step, (colour, opacity) in palette().items():
        bands = _bands(steps == step, found.edges)
        axes.add_patch(
            PathPatch(bands, fill=False, edgecolor=LIGHT[colour], alpha=opacity, linewidth=thickness, capstyle="butt")
        )
    return figure


def palette() -> dict[int, tuple[str, float]]:
    """Returns (colour, opacity) of each shade. Even is blank, less and more have a colour each, dead is ink."""
    opacities = {step: step / _HALF_OCTAVES for step in range(1, _HALF_OCTAVES + 1)}
    less = {-step: ("train", opacity) for step, opacity in opacities.items()}
    more = {step: ("validation", opacity) for step, opacity in opacities.items()}
    return less | more | {-_HALF_OCTAVES - 1: ("ink", 1.0)}


def shades(load: Floats) -> Floats:
    """Returns the distance of loads from even in whole half octaves, and one step below the lowest for dead experts.

    NaN stays NaN.
    """
    with np.errstate(divide="ignore"):
        steps: Floats = np.clip(np.round(2 * np.log2(load)), -_HALF_OCTAVES, _HALF_OCTAVES)
    return np.where(load < experts.DEAD, -_HALF_OCTAVES - 1, steps)


def _bands(wanted: Bools, edges: Floats) -> Path:
    """Returns one path with a horizontal line through each run of wanted cells, [rows, columns]."""
    padded = np.pad(wanted, ((0, 0), (1, 1))).astype(int)
    row, first = np.nonzero(np.diff(padded, axis=1) == 1)
    _, end = np.nonzero(np.diff(padded, axis=1) == -1)
    points = np.stack([edges[first], row, edges[end], row], axis=1).reshape(-1, 2)
    return Path(points, [Path.MOVETO, Path.LINETO] * len(row))


@STYLE
def final_load_figure(found: Loads, width: int = 330, height: int = 170) -> Figure:
    """Draws every expert's load at the end as a dash above its layer, and a cross below layers with dead experts."""
    figure, axes = canvas(width, height, left=48, right=50, top=10, bottom=26)
    places = np.arange(len(found.layers))
    axes.set_xlim(-0.6, len(places) - 0.4)
    apart = -(-len(places) // 12)
    axes.set_xticks(places[::apart], [str(layer) for layer in found.layers[::apart]])
    place, number = np.nonzero(np.isfinite(found.last))
    load = found.last[place, number]
    if not len(load):
        say_empty(axes)
        return figure
    axes.set_ylim(0, 1.06 * max(1.0, float(load.max())))
    set_ticks(axes.yaxis, 4)
    points = np.stack([place - 0.35, load, place + 0.35, load], axis=1).reshape(-1, 2)
    dashes = Path(points, [Path.MOVETO, Path.LINETO] * len(load))
    axes.add_patch(PathPatch(dashes, fill=False, edgecolor=LIGHT["train"], linewidth=1.6, alpha=0.6))
    dead = np.unique(place[load < experts.DEAD])
    axes.plot(
        dead,
        np.full(len(dead), 0.05),
        "x",
        color=LIGHT["ink"],
        markersize=7,
        markeredgewidth=1.8,
        transform=axes.get_xaxis_transform(),
        zorder=6,
    )
    draw_reference(axes, 1.0, "even")
    return figure
