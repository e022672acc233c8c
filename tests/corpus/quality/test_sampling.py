"""Tests that the stage scores the named sources and decides each document by its id."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from palmetto.corpus.engine import LocalEngine
from palmetto.corpus.quality.classifier import Classifier
from palmetto.corpus.quality.sampling import Quality, draw
from palmetto.corpus.stage import View
from palmetto.errors import UserError
from palmetto.recipe.corpus import Build
from tests.corpus.quality.test_classifier import CURATED, OTHER, texts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "classifier.npz"
    Classifier.train(texts(CURATED, 30, 1), texts(OTHER, 30, 2)).save(path)
    return path


def build(file: Path, **values: object) -> Build:
    return Build.model_validate(
        {
            "sources": {"web": {"paths": ["a"], "quality": True}, "books": {"paths": ["b"]}},
            "quality": {"classifier": str(file), **values},
        }
    )


def documents(source: str, of: list[str]) -> pa.Table:
    return pa.table(
        {
            "id": [f"{source}{number:031}" for number in range(len(of))],
            "source": pa.array([source] * len(of), pa.string()),
            "text": pa.array(of, pa.large_string()),
        }
    )


def test_stage(file: Path, tmp_path: Path) -> None:
    stage = Quality.of(build(file))
    assert stage is not None
    folder = tmp_path / "stage"
    stage.prepare(View(tmp_path, ()), LocalEngine(1), folder)
    file.unlink()  # the stage has its own
    good, bad = texts(CURATED, 40, 3), texts(OTHER, 40, 4)
    table = pa.concat_tables([documents("web", [*good, *bad]), documents("books", bad)])
    note = stage.annotate(table, "", folder)
    assert note["quality"].type == pa.float32()
    assert note["quality"].null_count == 40
    assert note["dropped"][80:].null_count == 40
    dropped = np.array([reason == "quality" for reason in note["dropped"].to_pylist()])
    assert dropped[:40].sum() < 20 < 30 < dropped[40:80].sum()
    order = np.random.default_rng(0).permutation(len(table))
    assert stage.annotate(table.take(order), "", folder).equals(note.take(order))
    assert len(stage.annotate(table.slice(0, 0), "", folder)) == 0


def test_no_source_is_scored(file: Path, tmp_path: Path) -> None:
    assert Quality.of(Build.model_validate({"sources": {"web": {"paths": ["a"]}}})) is None
    with pytest.raises(UserError, match="no such file"):
        Quality.of(build(tmp_path / "none"))


def test_identity_follows_the_file(file: Path) -> None:
    one = Quality.of(build(file))
    Classifier.train(texts(CURATED, 5, 1), texts(OTHER, 5, 2)).save(file)
    two, three = Quality.of(build(file)), Quality.of(build(file, alpha=3.0))
    assert one is not None
    assert two is not None
    assert three is not None
    assert one.identity != two.identity != three.identity


def test_draws_are_from_the_pareto_distribution() -> None:
    """P(draw > x) = (1 + x)^-alpha; 4000 draws are within 4 standard deviations of it."""
    draws = np.array([draw(f"{number:032x}", 9.0) for number in range(4000)])
    assert draws.min() > 0
    for x in (0.02, 0.1, 0.3):
        expected = (1 + x) ** -9.0
        assert abs((draws > x).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)
    assert draw("0" * 32, 9.0) == draw("0" * 32, 9.0)
