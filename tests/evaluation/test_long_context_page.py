"""Tests the files that `palmetto long-context` writes."""

import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from palmetto.evaluation import long_context_page as long_context
from palmetto.evaluation.long_context import Curve, Way
from palmetto.recipe.model import Model
from tests.training.report.test_page import HOSTILE, Page


@pytest.fixture
def curves() -> list[Curve]:
    """Returns two curves over four stretches of 16 positions, of losses log 10 and, after the first stretch, log 20."""
    model = Model(layers=1, d_model=8, heads=2)
    flat, rising = np.full(64, np.log(10)), np.log(np.repeat([10.0, 20, 20, 20], 16))
    return [Curve(Way("flat", model, "nothing"), flat), Curve(Way("rising", model, "much"), rising)]


def test_the_table_has_perplexities_by_stretch(curves: list[Curve]) -> None:
    head, _, *rows = long_context.table(curves, 16).splitlines()
    assert "| 1–16 | 17–32 | 33–48 | 49–64 |" in head
    assert rows == [
        "| flat | nothing | 10.0 | 10.0 | 10.0 | 10.0 |",
        "| rising | much | 10.0 | 20.0 | 20.0 | 20.0 |",
    ]


def test_all_files_are_written(curves: list[Curve], tmp_path: Path) -> None:
    long_context.write(curves, 16, tmp_path, "small")
    values = json.loads((tmp_path / "long-context.json").read_text())
    assert values["trained_length"] == 16
    assert values["ways"][1]["loss_by_stretch"] == pytest.approx(np.log([10, 20, 20, 20]), abs=1e-4)
    assert len(values["ways"][1]["loss_by_position"]) == 64
    assert (tmp_path / "long-context.png").read_bytes().startswith(b"\x89PNG")
    lines = long_context.figure(curves, 16).axes[0].lines
    assert np.asarray(lines[1].get_ydata())[-1] == pytest.approx(20)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(first) == {f"long-context.{kind}" for kind in ("json", "md", "html", "png")}
    long_context.write(curves, 16, tmp_path, "small")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


def test_the_page_is_valid_and_self_contained(curves: list[Curve]) -> None:
    hostile = curves[1]._replace(way=curves[1].way._replace(what=HOSTILE))
    text = long_context.html([hostile, curves[0]], 16, f"run {HOSTILE}")
    taken = Page(text)
    assert taken.open == []
    assert not {"script", "img"} & {tag for tag, _ in taken.tags}
    assert "//" not in text
    assert text.count("<svg") == 1 + 2
    assert "Trained on 16 positions and run on 64. " in text
    assert "lowest with flat: 10.0, against 20.0 as trained." in text
    assert "lowest as trained: 10.0." in long_context.html(curves, 16, "run")
    ids = [attributes["id"] for _, attributes in taken.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= set(re.findall(r"--([\w-]+):", text))


@pytest.mark.parametrize("width", [1040, 380])
def test_labels_of_nine_curves_do_not_overlap(curves: list[Curve], width: int) -> None:
    """The losses differ by a thousandth of a nat, and the names have the greatest length."""
    nine = [
        curves[0]._replace(
            way=curves[0].way._replace(name=f"parallel windows{n}"[-16:]), losses=curves[0].losses + n / 1000
        )
        for n in range(9)
    ]
    drawn = long_context.figure(nine, 16, width)
    drawn.draw_without_rendering()
    (axes,) = drawn.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 9 + 1
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert drawn.bbox.x0 <= box.x0
        assert box.x1 <= drawn.bbox.x1
    assert len({line.get_color() for line in axes.lines[:9]}) == 9


@pytest.mark.parametrize("losses", [np.full(4, np.nan), np.zeros(4), np.array([1.0, 2.0, np.nan, np.inf])])
def test_a_figure_is_drawn_for_any_losses(curves: list[Curve], losses: npt.NDArray[np.float64]) -> None:
    long_context.figure([curves[0]._replace(losses=losses)], 2).draw_without_rendering()
