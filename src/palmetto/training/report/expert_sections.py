"""The part of the page about routers and experts, as HTML."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from palmetto.report import svg
from palmetto.report.curves import Floats
from palmetto.report.markup import pairs
from palmetto.training.report import expert_figures, experts
from palmetto.training.report.experts import Expert, Loads
from palmetto.training.report.record import Record
from palmetto.training.report.sections import panels

_MOST_NAMED = 8
"""The most dead experts of a layer that are named one by one."""


def routers(record: Record) -> str:
    """Returns the section about routers and loads, or an empty string for a model without experts."""
    if record.routing is None or not len(record.step):
        return ""
    found = experts.loads(record)
    return (
        f"\n<h2>Experts</h2>\n{_load_in_words(record, found)}\n{pairs(_expert_numbers(record, found), 'figures')}\n"
        f'<div class="panels">\n{panels(record, expert_figures.expert_panels(record), "experts")}'
        + (f"\n{_loads(found)}\n</div>\n{_load_key(found)}" if found else "\n</div>")
    )


def _load_in_words(record: Record, found: Loads | None) -> str:
    if found is None:
        first = record.recipe.training.digest_every
        text = f"No load of the experts yet: the first is measured at step {first:,} (training.digest_every)."
        return f'<p class="note">{text}</p>'
    dead = [expert for expert in experts.ranked(found) if expert.load < experts.DEAD]
    if not dead:
        return ""
    are_dead = "expert is dead" if len(dead) == 1 else "experts are dead"
    return (
        f'<p class="verdict">{len(dead):,} {are_dead}, with under {100 * experts.DEAD:g}% of an even share over steps '
        f"{_end(found)}: {'; '.join(_named(dead))}.</p>"
    )


def _named(dead: list[Expert]) -> Iterator[str]:
    """Yields, for each layer, the numbers of its dead experts or, if they are many, their count."""
    by_place = sorted(dead, key=lambda expert: (expert.layer, expert.number))
    for layer, group in groupby(by_place, key=lambda expert: expert.layer):
        numbers = [str(expert.number) for expert in group]
        noun = "expert" if len(numbers) == 1 else "experts"
        yield f"layer {layer}, " + (
            f"{len(numbers)} {noun}" if len(numbers) > _MOST_NAMED else f"{noun} {', '.join(numbers)}"
        )


def _end(found: Loads) -> str:
    """Returns the steps of the last stretch of loads."""
    return f"{found.edges[-2] + 1:,.0f} to {found.edges[-1]:,.0f}"


def _expert_numbers(record: Record, found: Loads | None) -> list[tuple[str, str]]:
    settings, routing = record.recipe.model.experts, record.routing
    assert settings is not None
    assert routing is not None
    ranked = experts.ranked(found) if found else []
    least, most = (_of_even(ranked[0]), _of_even(ranked[-1])) if ranked else 2 * ("<small>not measured yet</small>",)
    dropped = routing.dropped[record.live & np.isfinite(routing.dropped)]
    last = f"{100 * dropped[-1]:.3g}% <small>last step</small>" if len(dropped) else "<small>not measured yet</small>"
    return [
        ("Experts a layer", f"{settings.count} <small>{settings.top} a token</small>"),
        ("Least loaded at the end", least),
        ("Most loaded at the end", most),
        ("Dropped assignments", "none <small>dropless</small>" if settings.capacity_factor is None else last),
    ]


def _of_even(expert: Expert) -> str:
    return f"{expert.load:.2f}× <small>layer {expert.layer}, expert {expert.number}</small>"


def _loads(found: Loads) -> str:
    """Returns the figures of the loads at the end in all layers, and over time in some."""
    end = svg.small(
        expert_figures.final_load_figure(found),
        "load-end",
        "Load at the end, by layer",
        "Load of every expert at the end by layer",
        _range(found.last),
    )
    over_time = (
        svg.small(
            expert_figures.load_figure(found, place),
            f"load-{place}",
            f"Load over time, layer {found.layers[place]}",
            f"Load of the experts of layer {found.layers[place]} by step",
            _range(found.last[place]),
        )
        for place in experts.strips(found)
    )
    return "\n".join([end, *over_time])


def _range(load: Floats) -> str:
    known = load[np.isfinite(load)]
    return f"{known.min():.2f}× to {known.max():.2f}×" if len(known) else "no number"


def _load_key(found: Loads) -> str:
    palette = expert_figures.palette()
    shown = [
        (-4, "¼ of even or less"),
        (-2, "½"),
        (2, "2×"),
        (4, "4× or more"),
        (min(palette), "dead (a cross by layer)"),
    ]
    signs = []
    for step, text in shown:
        colour, opacity = palette[step]
        mixed = f"color-mix(in srgb,var(--{colour}) {100 * opacity:g}%,transparent)"
        signs.append(f'<li><b class="shade" style="background:{mixed}"></b>{text}</li>')
    text = (
        "A load is an expert’s share of the assignments, 1 being even; layers and experts count from 0. Over time, "
        f"a row is an expert, the most loaded at the end (steps {_end(found)}) on top, and blank is even"
    )
    if found.last.shape[1] > experts.MOST_ROWS:
        half = experts.MOST_ROWS // 2
        text += f"; those between the {half} least and the {half} most loaded are left out"
    return f'<ul class="key">{"".join(signs)}<li>{text}</li></ul>'
