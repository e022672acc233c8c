"""Tests scores by whether the training text contains an example."""

import json
from pathlib import Path

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.contamination import split
from palmetto.evaluation.evaluating import OUTCOMES, RESULTS
from palmetto.evaluation.settings import SETTINGS
from palmetto.evaluation.tasks.task import Outcome
from palmetto.files import write_json, write_text
from tests.evaluation.tasks.records import lines

RIGHT = [1.0, 1.0, 0.0, 1.0, 0.0, 0.0]
SEEN = [True, True, True, False, False, False]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    out, corpus = tmp_path / "out", tmp_path / "corpus"
    outcomes = [Outcome(str(place), str(place), {"acc": score}, "") for place, score in enumerate(RIGHT)]
    text = "".join(
        json.dumps({"task": name, **each._asdict()}) + "\n" for name in ("copa", "piqa") for each in outcomes
    )
    write_text(out / OUTCOMES, text)
    files = {"copa": "superglue/COPA/val.jsonl", "piqa": "piqa/valid.jsonl"}
    write_json(out / RESULTS, {"tasks": {name: {"metric": "acc", "files": [path]} for name, path in files.items()}})
    write_json(out / SETTINGS, {"limit": None})
    marks = lines(*[{"id": str(place), "contaminated": seen} for place, seen in enumerate(SEEN, 1)]) + "\n"
    write_text(corpus / "contamination" / "eval" / "superglue" / "COPA" / "val.jsonl", marks)
    return out, corpus


def test_a_score_is_split_by_the_marks(folders: tuple[Path, Path]) -> None:
    compared = split(*folders)
    values = compared["tasks"]["copa"]
    assert (values["clean"]["value"], values["clean"]["count"]) == (pytest.approx(100 / 3, abs=1e-5), 3)
    assert values["contaminated"]["value"] == pytest.approx(200 / 3, abs=1e-5)
    assert values["difference"]["value"] == pytest.approx(100 / 3, abs=1e-5)
    # Two means of three values, each with a deviation of √(2/9) and a standard error of √(2/9/2).
    assert values["difference"]["error"] == pytest.approx(100 * (2 * 2 / 9 / 2) ** 0.5, abs=1e-4)
    assert compared["unmarked"] == {"piqa": "the corpus has no marks for piqa/valid.jsonl"}


def test_marks_of_another_number_are_not_taken(folders: tuple[Path, Path]) -> None:
    out, corpus = folders
    path = corpus / "contamination" / "eval" / "superglue" / "COPA" / "val.jsonl"
    write_text(path, "".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert split(out, corpus)["unmarked"]["copa"] == "6 examples, but 5 marks for eval/superglue/COPA/val"


def test_without_contaminated_examples_there_is_no_difference(folders: tuple[Path, Path]) -> None:
    out, corpus = folders
    path = corpus / "contamination" / "eval" / "superglue" / "COPA" / "val.jsonl"
    write_text(path, path.read_text().replace("true", "false"))
    values = split(out, corpus)["tasks"]["copa"]
    assert (values["contaminated"], values["difference"]) == (None, None)
    assert values["clean"]["value"] == 50.0


def test_what_cannot_be_split_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out, corpus = folders
    with pytest.raises(UserError, match="no folder contamination in it"):
        split(out, tmp_path)
    write_json(out / SETTINGS, {"limit": 6})
    with pytest.raises(UserError, match="evaluated with --limit 6; expected whole sets"):
        split(out, corpus)
