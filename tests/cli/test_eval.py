"""Tests what `palmetto eval`, `tasks` and `compare` refuse, and what `tasks` lists."""

import json
import re
import sys
from pathlib import Path

import pytest
import typer

from palmetto.cli.app import app
from palmetto.errors import UserError
from palmetto.files import write_text

RECORD = {"premise": "x", "choice1": "A", "choice2": "B", "question": "cause", "label": 0}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_text(tmp_path / "data" / "superglue" / "COPA" / "val.jsonl", json.dumps(RECORD) + "\n")
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_text(tmp_path / "run" / "recipe.yaml", "training: {steps: 1}\n")
    return tmp_path / "run"


def refusal(*arguments: object) -> str:
    with pytest.raises((UserError, typer.BadParameter)) as refused:
        app([*map(str, arguments)], standalone_mode=False)
    return str(refused.value)


def test_an_unknown_task_has_a_nearest_name(run: Path, data: Path) -> None:
    assert "--tasks bolq: no such task (did you mean 'boolq'?)" in refusal(
        "eval", run, "--tasks", "copa,bolq", "--data", data
    )


def test_a_missing_file_is_named_with_its_format(run: Path, data: Path) -> None:
    message = refusal("eval", run, "--tasks", "boolq", "--data", data)
    assert f"boolq: {data}/superglue/BoolQ/val.jsonl: no such file" in message
    assert "lines of JSON with question, passage and label" in message
    assert "valid-labels.lst" not in message
    (data / "piqa").mkdir()
    (data / "piqa" / "valid.jsonl").touch()
    assert "piqa/valid-labels.lst: no such file" in refusal("eval", run, "--tasks", "piqa", "--data", data)


def test_negative_shots_and_no_tasks_are_refused(run: Path, data: Path) -> None:
    for arguments in (["--tasks", "copa", "--shots", -1], ["--tasks", ","]):
        assert refusal("eval", run, "--data", data, *arguments)


def test_a_folder_of_data_must_be_there(run: Path, tmp_path: Path) -> None:
    assert "no such folder" in refusal("eval", run, "--tasks", "copa", "--data", tmp_path / "nowhere")
    assert "no such folder" in refusal("tasks", "--data", tmp_path / "nowhere")


def test_the_tasks_say_what_is_missing(data: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    app(["tasks", "--data", str(data), "--json"], standalone_mode=False)
    rows = {row["name"]: row for row in json.loads(capfdbinary.readouterr().out)}
    assert rows["copa"] == {"name": "copa", "ready": True, "files": ["superglue/COPA/val.jsonl"], "missing": []}
    assert rows["boolq"]["missing"] == ["superglue/BoolQ/val.jsonl"]
    assert rows["piqa"]["missing"] == ["piqa/valid.jsonl", "piqa/valid-labels.lst"]
    assert not rows["blimp"]["ready"]


def test_one_evaluation_is_not_compared(tmp_path: Path) -> None:
    assert "expected at least two" in refusal("compare", tmp_path)


def test_lm_eval_names_its_extra(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert re.match(r"lm_eval: needs the extra `eval`: .*(make|install)", refusal("lm-eval", run, "--tasks", "copa"))


def test_workers_are_those_of_a_cluster(run: Path, data: Path) -> None:
    assert "expected with --engine ray" in refusal("eval", run, "--tasks", "copa", "--data", data, "--workers", 2)


def test_a_missing_file_is_listed_with_its_format(data: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    app(["tasks", "--data", str(data)], standalone_mode=False)
    lines = dict(line.split("  ", 1) for line in capfdbinary.readouterr().out.decode().splitlines())
    assert lines["copa"] == "ready"
    assert lines["boolq"] == ("missing superglue/BoolQ/val.jsonl: lines of JSON with question, passage and label")
    assert lines["piqa"].endswith("goal, sol1 and sol2; and 1 more file")


def test_a_corpus_without_marks_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}: no folder contamination in it" in refusal("contamination", tmp_path, tmp_path)
