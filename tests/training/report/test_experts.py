"""The page's part about experts, which a model without experts does not have."""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from palmetto.json_lines import read_json_lines
from palmetto.report import svg
from palmetto.runs.directory import RunDirectory
from palmetto.training.report import expert_figures, experts, figures, record
from palmetto.training.report.page import page, write
from tests.references.report_runs import RunMaker, spiking
from tests.references.routed import dying, even, route, write_metrics

FOUR = ["model.layers=4", "model.experts.count=4"]
"""Layers 1 and 3 of 4 have 4 experts."""


def written(run: RunDirectory) -> str:
    write(run)
    return run.report.read_text()


def loads(run: RunDirectory) -> experts.Loads:
    found = experts.loads(record.read(run))
    assert found is not None
    return found


def alter(run: RunDirectory, change: Callable[[dict[str, Any]], None]) -> None:
    """Applies a change to every line of the metrics."""
    lines = read_json_lines(run.metrics)
    for line in lines:
        change(line)
    write_metrics(run, lines)


def test_routing_metrics_match_ledger_lines(make_run: RunMaker) -> None:
    run = make_run(spiking, overrides=FOUR)
    route(run, dying(2, 4))
    found = record.read(run).routing
    assert found is not None
    steps = record.read(run).step
    np.testing.assert_allclose(found.dropped, 0.2 / steps)
    np.testing.assert_allclose(found.entropy, 1.2 - steps / 1000)
    np.testing.assert_allclose(found.balance, 1 + 0.5 / steps)
    assert (found.z == 4).all()
    # Steps 60 and 70 were measured on both attempts.
    assert list(steps[found.measured]) == [10, 20, 30, 40, 50, 60, 70, 60, 70, 80, 90, 100, 110, 120]
    np.testing.assert_allclose(found.load[2, 1], [1.5, 1, 0.5, 1], atol=1e-4)


def test_loads_are_those_of_the_live_path(make_run: RunMaker) -> None:
    run = make_run(spiking, overrides=FOUR)
    route(run, even(2, 4))
    alter(
        run, lambda line: line.update(load=[[1, 0, 0, 0]] * 2) if (line["attempt"], line["step"]) == (0, 60) else None
    )
    found = loads(run)
    assert found.layers == [1, 3]
    assert list(found.edges) == list(range(0, 121, 10))
    assert (found.load == 1).all()


def test_many_measurements_are_averaged(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, dying(2, 4), every=1)
    found = loads(run)
    assert found.load.shape == (40, 2, 4)
    assert list(found.edges) == list(range(0, 121, 3))
    np.testing.assert_allclose(found.load[4, 1, 2], 1 - (13 + 14 + 15) / 3 / 60, atol=1e-4)


def test_a_dead_expert_is_named(make_run: RunMaker) -> None:
    run = make_run(overrides=[*FOUR, "model.experts.capacity_factor=1.5"])
    route(run, dying(2, 4))
    shown = written(run)
    assert "1 expert is dead, with under 1% of an even share over steps 111 to 120: layer 3, expert 2." in shown
    assert "0.00× <small>layer 3, expert 2</small>" in shown
    assert "2.00× <small>layer 3, expert 0</small>" in shown
    assert "0.167% <small>last step" in shown
    assert shown.count("<svg") == 1 + 2 + 9 + 6 + 1 + 2


@pytest.mark.parametrize(("share", "dead"), [(0.0099, True), (0.0101, False)])
def test_dead_is_under_a_hundredth_of_even(make_run: RunMaker, share: float, dead: bool) -> None:
    run = make_run(overrides=FOUR)
    rest = (4 - share) / 3
    route(run, lambda step: np.array([[1, 1, 1, 1], [rest, share, rest, rest]]) / 4)
    shown = written(run)
    assert ("is dead" in shown) == dead


def test_many_dead_experts_are_counted(make_run: RunMaker) -> None:
    run = make_run(steps=20, overrides=["model.experts.count=16", "model.experts.every=1"])
    few = np.array([0.5, 0.5, *[0.0] * 14])
    some = np.array([0.0, 0.0, *[1 / 14] * 14])
    route(run, lambda step: np.stack([few, some]))
    assert "16 experts are dead" in (shown := written(run))
    assert "layer 0, 14 experts; layer 1, experts 0, 1." in shown


def test_dropless_models_have_no_panel_of_dropped_assignments(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, even(2, 4))
    shown = written(run)
    assert "none <small>dropless" in shown
    assert "<h3>Dropped" not in shown
    assert "dead," not in shown


def test_a_dense_model_has_no_section_about_experts(make_run: RunMaker) -> None:
    run = make_run()
    before = written(run)
    assert "Experts" not in before
    assert "Loss scale" not in before
    route(run, even(1, 4))
    assert written(run) == before


def test_metrics_without_routing_are_accepted(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    for remove in (False, True):
        if remove:
            run.metrics.unlink()
        shown = written(run)
        assert "the first is measured at step 100 (training.digest_every)" in shown
        assert shown.count("not measured yet") == 2
        assert shown.count("nothing to draw") == (5 if not remove else 8)


@pytest.mark.parametrize("load", [None, [], [[0.25] * 4], [[0.25] * 4, [0.25] * 3], [[0.5] * 2] * 2, "even", {}])
def test_a_load_of_another_shape_is_ignored(make_run: RunMaker, load: object) -> None:
    run = make_run(overrides=FOUR)
    route(run, even(2, 4))
    alter(run, lambda line: line.update(load=load) if line["step"] in (10, 20, 50) else None)
    found = loads(run)
    assert list(found.edges) == [0, 30, 40, 60, 70, 80, 90, 100, 110, 120]


def test_loads_that_are_not_finite_are_ignored(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, even(2, 4), every=1)
    nan = math.nan

    def spoil(line: dict[str, Any]) -> None:
        line |= {"entropy": nan, "balance": None} if line["step"] > 100 else {}
        line["load"][1][3] = nan if line["step"] % 2 or line["step"] > 110 else line["load"][1][3]

    alter(run, spoil)
    found = loads(run)
    assert (found.load[:36] == 1).all()
    assert np.isnan(found.last[1, 3])
    assert [expert.load for expert in experts.ranked(found)] == [1.0] * 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = written(run)
    assert "1.00× to 1.00×" in shown
    alter(run, lambda line: line.update(load=[[nan] * 4] * 2, dropped=nan, entropy=nan, balance=nan, z=nan))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = written(run)
    assert shown.count("nothing to draw") == 6
    assert shown.count("no number") == 5 + 3


def test_one_expert_and_one_measurement_are_enough(make_run: RunMaker) -> None:
    run = make_run(steps=10, overrides=["model.experts.count=1", "model.experts.top=1"])
    route(run, even(1, 1))
    shown = written(run)
    assert "1.00× <small>layer 1, expert 0" in shown
    assert "log 1<" in shown


def test_references_are_on_the_scale(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, dying(2, 4))
    found = record.read(run)
    for panel in expert_figures.expert_panels(found):
        (axes,) = figures.panel_figure(found, panel).axes
        if panel.reference:
            bottom, top = axes.get_ylim()
            assert bottom <= panel.reference[0] <= top
            assert any(list(np.asarray(line.get_ydata())) == [panel.reference[0]] * 2 for line in axes.lines)
    named = {panel.title: panel.reference for panel in expert_figures.expert_panels(found)}
    assert named["Gate entropy, nats"] == (math.log(4), "log 4")


def test_extremes_are_of_all_layers(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, dying(2, 4))
    least, most = experts.extremes(record.read(run))
    np.testing.assert_allclose(least[[9, 29, 119]], [1 - 1 / 6, 0.5, 0], atol=1e-4)
    np.testing.assert_allclose(most[[9, 29, 119]], [1 + 1 / 6, 1.5, 2], atol=1e-4)
    assert np.isnan(least[[0, 10]]).all()


def test_shades_are_half_octaves_from_even() -> None:
    load = np.array([0, 0.009, 0.011, 0.1, 0.25, 0.5, 0.7, 0.9, 1, 1.1, 1.41, 2, 4, 64, np.nan])
    expected = [-5, -5, -4, -4, -4, -2, -1, 0, 0, 0, 1, 2, 4, 4, np.nan]
    np.testing.assert_array_equal(expert_figures.shades(load), expected)
    assert set(expected[:-1]) - {0} <= set(expert_figures.palette())


def test_a_strip_has_a_band_for_each_shade(make_run: RunMaker) -> None:
    run = make_run(steps=40, overrides=["model.experts.count=4"])
    route(run, lambda step: np.array([[2, 2, 0, 0] if step in (20, 30) else [1, 1, 2, 0]]) / 4)
    (axes,) = expert_figures.load_figure(loads(run), 0).axes
    drawn = {
        (tuple(first), tuple(last))
        for patch in axes.patches
        for first, last in patch.get_path().vertices.reshape(-1, 2, 2).tolist()  # type: ignore[union-attr]
    }
    # From the bottom: expert 3, always dead; 0 and 1, even and doubled; 2, doubled and dead.
    assert drawn == {
        ((0, 0), (40, 0)),
        ((10, 1), (30, 1)),
        ((10, 2), (30, 2)),
        ((0, 3), (10, 3)),
        ((10, 3), (30, 3)),
        ((30, 3), (40, 3)),
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["3", "0", "1", "2"]


def test_the_most_uneven_of_many_layers_is_drawn() -> None:
    load = np.ones((1, 6, 4))
    load[0, 2] = [1.5, 0.5, 1.5, 0.5]
    load[0, 4] = [1.3, 1.3, 1.3, 0.1]
    found = experts.Loads([1, 3, 5, 7, 9, 11], np.array([0.0, 10.0]), load)
    assert experts.strips(found) == [0, 4, 5]
    assert experts.strips(found._replace(layers=[1, 3, 5], load=load[:, :3])) == [0, 1, 2]


def test_the_extremes_of_many_experts_are_drawn() -> None:
    load = np.random.default_rng(0).permutation(200).reshape(1, 1, 200).astype(float)
    shown = experts.rows(experts.Loads([0], np.array([0.0, 1.0]), load), 0)
    assert list(load[0, 0, shown]) == [*range(32), *range(168, 200)]


def test_a_large_model_needs_little_space(make_run: RunMaker) -> None:
    """64 experts in each of 12 layers, with 200 random measurements in 20,000 noisy steps, add less than 300 kB."""
    run = make_run(
        steps=5,
        finished=False,
        overrides=[
            "model.layers=12",
            "model.experts.count=64",
            "model.experts.every=1",
            "model.experts.capacity_factor=1.25",
        ],
    )
    found = record.read(run)
    steps, random = 20_000, np.random.default_rng(0)
    noise = {name: 2 + random.standard_normal(steps) for name in ("dropped", "entropy", "balance", "z")}
    load = np.exp(2 * random.standard_normal((200, 12, 64)))
    load *= 64 / load.sum(axis=-1, keepdims=True)
    routing = record.Routing(**noise, measured=np.arange(99, steps, 100), load=load)
    names = (
        "attempt",
        "loss",
        "grad_norm",
        "parameter_norm",
        "z",
        "learning_rate",
        "sequences",
        "loss_scale",
        "seconds",
        "tokens_per_second",
        "mfu",
    )
    whole: dict[str, Any] = {name: np.ones(steps) for name in names}
    whole["attempt"] = np.zeros(steps)
    whole |= {"step": np.arange(1.0, steps + 1), "live": np.ones(steps, bool), "applied": np.ones(steps, bool)}
    with_experts = len(page(replace(found, **whole, routing=routing), "run"))
    growth = with_experts - len(page(replace(found, **whole, routing=None), "run"))
    assert growth < 300_000


def test_a_strip_uses_the_colours_of_the_page(make_run: RunMaker) -> None:
    run = make_run(overrides=FOUR)
    route(run, dying(2, 4))
    drawn = svg.inline(expert_figures.load_figure(loads(run), 1), "load")
    for colour in ("train", "validation", "ink"):
        assert f"stroke: var(--{colour})" in drawn
    assert not re.search(r"#[0-9a-f]{6}\b", drawn.replace("#000000", ""))
    assert "<image" not in drawn


def test_the_loss_scale_is_drawn_if_there_is_one(make_run: RunMaker) -> None:
    run = make_run(overrides=["model.activations=float16"])
    found = record.read(run)
    assert list(found.loss_scale[[0, 48, 49, 119]]) == [2.0**15, 2.0**15, 2.0**16, 2.0**17]
    shown = written(run)
    assert "<h3>Loss scale</h3><output>2¹⁷</output>" in shown
    assert ">2¹⁶<" in shown
