"""The results of a sweep, as statistics, tables, figures and pages."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.sweeps import figure as sweep_figure
from palmetto.sweeps import page as sweep
from palmetto.sweeps.results import Choice, Point, Sweep
from palmetto.training.report.record import Validations
from tests.training.report.test_page import HOSTILE, Page


def make(losses: list[list[float | None]], labels: list[str] | None = None, comparable: bool = True) -> Sweep:
    """A sweep with these final losses, [choices][seeds]; None is a run that failed half-way."""
    step = np.arange(0.0, 501, 50)
    points = []
    for number, of_choice in enumerate(losses):
        for seed, loss in enumerate(of_choice):
            whole = Validations(step, (3.0 if loss is None else loss) + 5 * np.exp(-step / 60))
            directory = f"c{number}/seed-{seed}"
            if loss is None:
                half, reason = Validations(step[:6], whole.loss[:6]), "the spike at step 250 came back"
                points.append(Point(number, seed, directory, "failed", reason, 250, half, None))
            else:
                points.append(Point(number, seed, directory, "done", "", 500, whole, "ab" * 32))
    labels = labels or [f"label{number}" for number in range(len(losses))]
    choices = tuple(
        Choice((label,), (f"model.block={label}",), 1_213_056, 800_000 + i, 7.5e6) for i, label in enumerate(labels)
    )
    return Sweep("small", ("model.block",), ("training.steps=500",), len(losses[0]), comparable, choices, tuple(points))


def final(point: Point) -> float:
    return float(point.validations.loss[-1])


loss_tables = st.integers(1, 5).flatmap(
    lambda seeds: st.lists(
        st.lists(st.none() | st.floats(0.5, 20), min_size=seeds, max_size=seeds), min_size=1, max_size=4
    )
)


@given(loss_tables)
def test_statistics_are_those_of_numpy(losses: list[list[float | None]]) -> None:
    made = make(losses)
    table = np.array(
        [
            [np.nan if loss is None else final(point) for loss, point in zip(row, made.of(number), strict=True)]
            for number, row in enumerate(losses)
        ]
    )
    for number, row in enumerate(table):
        found, done = made.statistics(number), row[np.isfinite(row)]
        assert found.seeds == len(done)
        assert (found.mean is None) == (len(done) == 0)
        assert (found.deviation is None) == (len(done) < 2)
        if found.mean is not None:
            assert found.mean == pytest.approx(done.mean(), rel=1e-12)
        if found.deviation is not None:
            assert found.deviation == pytest.approx(done.std(ddof=1), rel=1e-9, abs=1e-12)
        pairs = row - table[0]
        pairs = pairs[np.isfinite(pairs)]
        if number == 0:
            assert found.difference is found.standard_error is None
            continue
        assert (found.difference is None) == (len(pairs) == 0)
        assert (found.standard_error is None) == (len(pairs) < 2)
        if found.difference is not None:
            assert found.difference == pytest.approx(pairs.mean(), rel=1e-9, abs=1e-12)
        if found.standard_error is not None:
            assert found.standard_error == pytest.approx(pairs.std(ddof=1) / math.sqrt(len(pairs)), rel=1e-9, abs=1e-12)


def test_pairing_by_seed_removes_the_effect_of_seeds() -> None:
    """Seeds differ by a whole nat and the choices by 0.1 in each seed."""
    found = make([[3.0, 4.0, 5.0], [2.9, 3.9, 4.9]]).statistics(1)
    assert found.deviation == pytest.approx(1.0)
    assert found.difference == pytest.approx(-0.1)
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)


def test_the_table_has_every_choice_and_failure() -> None:
    made = make([[4.0, 4.2], [3.5, None], [None, None]], ["parallel", "a|b", "serial"])
    text = sweep.markdown(made)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3
    assert len({re.sub(r"\\\|", "", row).count("|") for row in rows}) == 1, "every row has as many cells"
    assert "| parallel | 1,213,056 | 800,000 | 7.5M | 2 | 4.1012 ± 0.1414 | — |" in text
    assert "| a\\|b | 1,213,056 | 800,001 | 7.5M | 1, 1 failed | 3.5012 | −0.5000 |" in text
    assert "| serial | 1,213,056 | 800,002 | 7.5M | 0, 2 failed | — | — |" in text
    for line in ("- a|b seed 1: the spike at step 250 came back", "- serial seed 0: ", "- serial seed 1: "):
        assert line in text
    assert "- every point: training.steps=500" in text


def test_losses_that_cannot_be_compared_have_a_note() -> None:
    assert "cannot" not in sweep.markdown(make([[4.0], [3.0]]))
    assert "neither losses nor differences" in sweep.markdown(make([[4.0], [3.0]], comparable=False))


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    made = make([[4.0, 4.2], [3.5, None]])
    written = []
    for _ in range(2):
        sweep.write(made, tmp_path)
        written.append({file.name: file.read_bytes() for file in tmp_path.iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {"sweep.json", "sweep.md", "sweep.html", "sweep.png", "sweep.svg"}
    assert int.from_bytes(written[0]["sweep.png"][16:20]) == 2080, "pixels across"


def test_the_json_holds_every_point(tmp_path: Path) -> None:
    sweep.write(make([[4.0, 4.2], [3.5, None]]), tmp_path)
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert [(p["overrides"][-1], p["seed"], p["status"], p["steps"]) for p in found["points"]] == [
        ("model.block=label0", 0, "done", 500),
        ("model.block=label0", 1, "done", 500),
        ("model.block=label1", 0, "done", 500),
        ("model.block=label1", 1, "failed", 250),
    ]
    assert found["points"][0]["parameters"] == {"total": 1_213_056, "active": 800_000}
    assert found["points"][3]["validation_loss"] is None
    assert found["points"][3]["reason"] == "the spike at step 250 came back"
    assert found["choices"][1]["validation_loss"]["seeds"] == 1


def test_the_page_is_valid_and_self_contained() -> None:
    text = sweep.html(make([[4.0, 4.2], [3.5, None]], ["plain", HOSTILE]))
    taken = Page(text)
    assert taken.open == []
    assert "script" not in [tag for tag, _ in taken.tags]
    assert "img" not in [tag for tag, _ in taken.tags]
    assert "//" not in text
    assert "Lowest mean validation loss: 3.5012" in text
    ids = [attributes["id"] for _, attributes in taken.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    assert used <= set(re.findall(r"--([\w-]+):", text)), "every colour is defined"


@pytest.mark.parametrize("width", [1040, 380])
def test_names_in_the_figure_do_not_overlap(width: int) -> None:
    """Eight choices within a thousandth of a nat, one of them with a long name and mathematics in it."""
    labels = [*(f"label{n}" for n in range(7)), "$x_1^$ and a name that goes on and on without an end in sight"]
    drawn = sweep_figure.figure(make([[3 + n / 8000, 3.001, None if n == 5 else 3] for n in range(8)], labels), width)
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for axes in drawn.axes for text in axes.texts]
    assert len(boxes) == 8 + 2 * 8
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert drawn.bbox.x0 <= box.x0
        assert box.x1 <= drawn.bbox.x1


@pytest.mark.parametrize("losses", [[[None]], [[4.0]], [[4.0, 4.0]], [[None, 4.0], [4.0, None]], [[4.0]] * 11])
def test_a_figure_is_drawn_for_any_results(losses: list[list[float | None]]) -> None:
    sweep_figure.figure(make(losses)).draw_without_rendering()


def test_a_page_without_a_finished_run_says_so() -> None:
    assert "no run is finished" in sweep.html(make([[None]]))


def test_the_early_losses_do_not_set_the_scale() -> None:
    curves, ends = sweep_figure.figure(make([[3.0, 3.1], [3.2, 3.3]])).axes
    assert curves.get_ylim()[1] < 5
    assert ends.get_xlim()[1] < 3.5
