"""Tests the files that `palmetto corpus quality report` writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from palmetto.corpus.quality import page as quality
from palmetto.corpus.quality.evaluation import Evaluation, Side
from palmetto.corpus.quality.training import Text
from tests.training.report.test_page import HOSTILE, Page


@pytest.fixture
def evaluation() -> Evaluation:
    """Returns ten texts per side, whose scores are separated except for one."""

    def side(name: str, scores: list[float]) -> Side:
        texts = tuple(Text(f"{name}:{number}", f"{HOSTILE} {name} {number}", True) for number in range(len(scores)))
        return Side(texts, np.array(scores, np.float32))

    line = np.linspace(0, 1, 5)
    return Evaluation(
        side("c", [0.3, *[0.9] * 9]), side("o", [*[0.1] * 9, 0.7]), line, line**0.2, line, 1 - line / 2, 0.97, 0.95
    )


def test_files(evaluation: Evaluation, tmp_path: Path) -> None:
    quality.write(evaluation, 9.0, tmp_path)
    values = json.loads((tmp_path / "quality.json").read_text())
    assert values["area_under_roc"] == 0.97
    assert sum(values["curated"]["histogram"]) == 10
    assert values["other"]["highest"][0] == {"name": "o:9", "score": 0.7}
    assert values["curated"]["lowest"][0] == {"name": "c:0", "score": 0.3}
    expected = (1.7**-9 + 9 * 1.1**-9) / 10, (1.3**-9 + 9 * 1.9**-9) / 10
    assert values["kept_by_alpha"]["9"] == pytest.approx(expected, abs=1e-4)
    data = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert data["quality.png"].startswith(b"\x89PNG")
    quality.write(evaluation, 9.0, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == data


def test_the_page_shows_the_examples_and_runs_nothing(evaluation: Evaluation) -> None:
    text = quality.html(evaluation, 9.0, HOSTILE)
    assert "97.0%" in text
    assert text.index("o 9") < text.index("o 8")
    assert text.count("<svg") >= 4
    page = Page(text)
    assert page.open == []
    assert len(page.blocks) == 20
    assert not {"script", "img", "link"} & {tag for tag, _ in page.tags}
