"""Tests that documents are held out by hash, never trained on, and used for the evaluation."""

import json
from pathlib import Path

import pytest

from palmetto.corpus.quality import training
from palmetto.corpus.quality.evaluation import evaluate
from palmetto.errors import UserError
from tests.corpus.quality.test_classifier import CURATED, OTHER, texts


def silent(text: str) -> None:
    """Says nothing."""


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    for name, words in (("curated", CURATED), ("other", OTHER)):
        lines = [json.dumps({"text": text}) for text in texts(words, 80, len(name))]
        (tmp_path / name).mkdir()
        (tmp_path / name / "all.jsonl").write_text("\n".join(lines))
    return tmp_path / "curated", tmp_path / "other"


def test_train_score_and_evaluate(sides: tuple[Path, Path], tmp_path: Path) -> None:
    curated, other = map(str, sides)
    file, said = tmp_path / "classifier.npz", list[str]()
    classifier = training.train([curated], [other], file, said.append)
    held_out = [text for text in training.read([curated, other], training.FIELDS, silent) if text.held_out]
    assert 0 < len(held_out) < 50
    assert classifier.trained["curated"] + classifier.trained["other"] == 160 - len(held_out)
    assert said[-1] == f"{file}: written"

    evaluation = evaluate(file, [curated], [other], silent)
    assert len(evaluation.curated.texts) + len(evaluation.other.texts) == len(held_out)
    assert evaluation.area > 0.99
    assert evaluation.average_precision > 0.99
    assert list(evaluation.curated.scores) == sorted(evaluation.curated.scores)
    kept = evaluation.kept(9.0)
    assert 0 < kept[1] < kept[0] < 1

    scores = list(training.score(file, curated, silent))
    assert [Path(name).name for name, _ in scores] == [f"all.jsonl:{number}" for number in range(1, 81)]
    assert sum(score > 0.5 for _, score in scores) > 75


def test_a_document_is_held_out_with_all_its_sections(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(f"{number} is a line\n" * 1000)
    fates: dict[str, set[bool]] = {}
    for text in training.read([str(tmp_path)], training.FIELDS, silent):
        assert len(text.text) < training.SECTION_BYTES + 100
        fates.setdefault(text.name.split("#")[0], set()).add(text.held_out)
    assert len(fates) == 30
    assert all(len(fate) == 1 for fate in fates.values())
    assert {fate for (fate,) in fates.values()} == {True, False}


def test_a_side_without_held_out_documents(sides: tuple[Path, Path], tmp_path: Path) -> None:
    curated, other = map(str, sides)
    file = tmp_path / "classifier.npz"
    training.train([curated], [other], file, silent)
    lone = next(f"{number}" for number in range(100) if not training.is_held_out(f"{number}"))
    (tmp_path / "lone.txt").write_text(lone)
    with pytest.raises(UserError, match=r"lone\.txt: no other document is held out"):
        evaluate(file, [curated], [str(tmp_path / "lone.txt")], silent)


def test_other_fields_and_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n{"other": "two"}\nno JSON\n')
    (tmp_path / "b.csv").write_text("v1,body\n1,three\n")
    said: list[str] = []
    assert [text.text for text in training.read([str(tmp_path)], ["body"], said.append)] == ["one", "three"]
    assert len(said) == 2
    assert said[0].startswith("not read: ")
    with pytest.raises(UserError, match=r"^/.*none: no such file"):
        list(training.read([str(tmp_path / "none")], ["body"], said.append))


def test_an_empty_path_is_no_text() -> None:
    with pytest.raises(UserError, match="an empty path is no text"):
        list(training.read([""], training.FIELDS, lambda line: None))
