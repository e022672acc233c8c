import io
import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from palmetto.report import svg
from palmetto.report.colours import CHOICES, DARK, LIGHT
from palmetto.training.report import figures, record
from tests.references.report_runs import RunMaker, falling, spiking


@pytest.mark.parametrize("width", [1040, 380])
def test_the_loss_figure_shows_curves_entropy_and_rollback(make_run: RunMaker, width: int) -> None:
    figure = figures.loss_figure(record.read(make_run(spiking)), width)
    drawn = svg.inline(figure, "loss")
    assert f'viewBox="0 0 {width} ' in drawn
    for label in ("train<", "validation<", "unigram", "rollback 1<", ">step<"):
        assert label in drawn
    for colour in ("train", "validation", "rollback", "ink", "grid"):
        assert f"var(--{colour})" in drawn


def test_a_figure_can_be_saved_as_a_picture(make_run: RunMaker) -> None:
    file = io.BytesIO()
    figures.loss_figure(record.read(make_run()), 600, 300).savefig(file, dpi=144)
    header = file.getvalue()[:24]
    assert header[1:4] == b"PNG"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24])) == (1200, 600)


def test_a_spike_does_not_set_the_scale(make_run: RunMaker) -> None:
    def huge(step: int, attempt: int) -> float:
        return 1e6 if step == 90 else falling(step, attempt)

    found = record.read(make_run(huge))
    (axes,) = figures.loss_figure(found).axes
    assert axes.get_ylim()[1] < 20
    arrows = [line for line in axes.lines if line.get_marker() == "^"]
    assert [float(x) for line in arrows for x in np.asarray(line.get_xdata())] == [90.0]


def test_a_long_run_needs_little_space_and_keeps_spikes(make_run: RunMaker) -> None:
    """With 250,000 steps, eleven figures of these sizes stay far below the page's 1.5 MB."""
    steps = 250_000
    noise = np.random.default_rng(0).standard_normal(steps)
    noise[123_456] = 60.0
    changed: dict[str, Any] = {
        "step": np.arange(1.0, steps + 1),
        "attempt": np.zeros(steps),
        "live": np.ones(steps, bool),
        "applied": np.ones(steps, bool),
        "loss": 4 + 0.1 * noise,
        "grad_norm": 4 + 0.1 * noise,
        "loss_scale": np.full(steps, np.nan),
    }
    found = replace(record.read(make_run()), **changed)
    loss = figures.loss_figure(found)
    assert len(svg.inline(loss, "loss")) < 100_000
    assert max(np.max(np.asarray(line.get_ydata()), initial=0) for line in loss.axes[0].lines) == pytest.approx(10.0)
    panel = figures.Panel("Gradient norm", found.grad_norm, noisy=True)
    assert len(svg.inline(figures.panel_figure(found, panel), "panel")) < 50_000


def test_skipped_steps_are_crosses_at_the_lower_edge(make_run: RunMaker) -> None:
    found = record.read(make_run(lambda step, attempt: math.nan if step in (40, 80) else falling(step, attempt)))
    (axes,) = figures.loss_figure(found).axes
    crosses = [float(x) for line in axes.lines if line.get_marker() == "x" for x in np.asarray(line.get_xdata())]
    assert crosses == [40.0, 80.0]


def test_every_panel_is_drawn_for_any_values(make_run: RunMaker) -> None:
    found = record.read(make_run(lambda step, attempt: math.nan, steps=3, finished=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for panel in figures.panels(found):
            drawn = svg.inline(figures.panel_figure(found, panel), panel.title)
            assert ("nothing to draw" in drawn) == (not np.isfinite(panel.values).any())


def test_batches_have_scales_in_sequences_and_tokens(make_run: RunMaker) -> None:
    found = record.read(make_run())
    panel = next(panel for panel in figures.panels(found) if panel.tokens)
    drawn = svg.inline(figures.panel_figure(found, panel), "batch")
    for tick in (">8<", ">16<", ">128<", ">256<"):
        assert tick in drawn


def test_panels_have_different_ids(make_run: RunMaker) -> None:
    found = record.read(make_run())
    first, second = (svg.inline(figures.loss_figure(found), name) for name in "ab")
    ids = [{part.split('"')[0] for part in drawn.split(' id="')[1:]} for drawn in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_colours_have_contrast_with_the_background(colours: dict[str, str]) -> None:
    for name in ("ink", "muted", *CHOICES):
        for paper in ("paper", "panel"):
            assert _contrast(colours[name], colours[paper]) >= 4.5, f"{name} on {paper}: WCAG AA"


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
