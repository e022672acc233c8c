"""Tests tasks that YAML files describe."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from palmetto.errors import UserError
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import choose
from palmetto.files import write_text

CHOICE = {
    "name": "mine",
    "file": "mine/test.jsonl",
    "context": "Q: {q}\nA:",
    "options": ["{a}", "none of it"],
    "gold": "g",
}
ANSWER = {"name": "mine", "file": "mine/test.jsonl", "context": "Q: {q}\nA:", "answers": "g"}


def described(folder: Path, description: Any, *records: Any) -> list[Any]:
    """Returns the examples of a described task."""
    write_text(folder / "mine.yaml", yaml.safe_dump(description))
    write_text(folder / "mine" / "test.jsonl", "\n".join(map(json.dumps, records)))
    [task] = choose([str(folder / "mine.yaml")], folder).tasks
    return load(task, folder).examples


@pytest.mark.parametrize(("gold", "place"), [(1, 1), ("0", 0), ("B", 1), ("x", 0), (True, 1), ("none of it", 1)])
def test_the_right_option_is_a_place_letter_or_text(gold: Any, place: int, tmp_path: Path) -> None:
    [example] = described(tmp_path, CHOICE, {"q": "?", "a": "x", "g": gold})
    assert example.gold == (place,)
    assert [option.continuation for option in example.options] == [" x", " none of it"]
    assert example.options[0].context == "Q: ?\nA:"


@pytest.mark.parametrize(("options", "gold"), [(["3", "0", "1"], "1"), (["B", "A"], "A")])
def test_a_right_option_of_two_meanings_is_refused(options: list[str], gold: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"record 0: .* of one option and the .* of another; expected one meaning"):
        described(tmp_path, CHOICE | {"options": "all"}, {"q": "?", "all": options, "g": gold})


def test_options_may_be_a_field_with_a_list(tmp_path: Path) -> None:
    [example] = described(tmp_path, CHOICE | {"options": "all"}, {"q": "?", "all": ["{x}", "y"], "g": 1})
    assert [option.continuation for option in example.options] == [" {x}", " y"]


def test_answers_are_one_or_several(tmp_path: Path) -> None:
    one, several = described(tmp_path, ANSWER, {"q": "1", "g": 7}, {"q": "2", "g": ["a", "b"]})
    assert (one.answers, several.answers) == (("7",), ("a", "b"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optoins": []}, r"optoins: .*did you mean 'options'"),
        ({"answers": "g"}, "expected either options and gold, or answers"),
        ({"gold": None}, "gold: expected the field"),
        ({"format": "xml"}, "format: "),
        ({"file": "no.jsonl"}, "no.jsonl: no such file; expected records of jsonl"),
        ({"training": "no.jsonl"}, "no.jsonl: no such file; expected records of jsonl"),
        ({"context": "{q.x}"}, r"'{q\.x}': expected only fields in braces"),
        ({"options": ["{a:9999999999}", "b"]}, "expected only fields in braces"),
        ({"options": ["x"]}, "options: .*expected a list of two or more"),
        ({"options": "q"}, r"options: '\?'; expected a list of two or more"),
        ({"name": "boolq"}, "another task is called boolq too"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"stop": [""]}, "stop.0: "),
    ],
)
def test_a_wrong_description_is_refused(changes: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        described(tmp_path, CHOICE | changes, {"q": "?", "a": "x", "g": 0})


def test_a_record_without_a_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="record 1: no 'a'"):
        described(tmp_path, CHOICE, {"q": "?", "a": "x", "g": 0}, {"q": "?", "g": 0})
    with pytest.raises(UserError, match="'z' is no place, letter or text of 2 options"):
        described(tmp_path, CHOICE, {"q": "?", "a": "x", "g": "z"})


def test_a_changed_description_is_another_evaluation(tmp_path: Path) -> None:
    described(tmp_path, ANSWER, {"q": "1", "g": "7"})
    [before] = choose([str(tmp_path / "mine.yaml")], tmp_path).tasks
    described(tmp_path, ANSWER | {"tokens": 5, "stop": ["x", "y"]}, {"q": "1", "g": "7"})
    [after] = choose([str(tmp_path / "mine.yaml")], tmp_path).tasks
    assert before.digest != after.digest
    assert (before.stop, after.stop, after.tokens) == (("\n",), ("x", "y"), 5)


@pytest.mark.parametrize("answer", [None, [], {"a": 1}, [None]])
def test_a_record_without_an_answer_is_refused(answer: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test\.jsonl: record 0: g: .* is no answer"):
        described(tmp_path, ANSWER, {"q": "?", "g": answer})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"name: \xe9", "mine.yaml: not UTF-8"),
        (b"[" * 5000, "mine.yaml, line 1.*: not YAML"),
        (b"name: a\nname: b", "mine.yaml, line 2.*: not YAML: the key 'name' appears twice"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(data)
    with pytest.raises(UserError, match=message):
        choose([str(tmp_path / "mine.yaml")], tmp_path)


def test_two_descriptions_of_one_name_are_refused(tmp_path: Path) -> None:
    described(tmp_path, ANSWER, {"q": "1", "g": "7"})
    (tmp_path / "other.yaml").write_bytes((tmp_path / "mine.yaml").read_bytes())
    with pytest.raises(UserError, match=r"other\.yaml: another task is called mine too"):
        choose([str(tmp_path / "mine.yaml"), str(tmp_path / "other.yaml")], tmp_path)
