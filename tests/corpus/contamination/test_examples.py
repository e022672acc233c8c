"""Tests that evaluation sets of every format are read."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from palmetto.corpus.contamination import Example, find_sets, other_files, read_examples
from palmetto.errors import UserError

RECORD = {"question": "What is it?", "choices": {"label": ["A", "B"], "text": ["a cat", "a dog"]}, "answerKey": "A"}
EXAMPLE = ("What is it?", "a cat\na dog", "")


def read(folder: Path, name: str, content: str | bytes) -> list[tuple[str, str, str]]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(example.question, example.prompt, example.target) for example in read_examples(path)]


def test_records_of_every_kind_of_file(tmp_path: Path) -> None:
    line = json.dumps(RECORD)
    assert read(tmp_path, "a.jsonl", f"{line}\n\n{line}\n") == [EXAMPLE] * 2
    assert read(tmp_path, "a.json", f"[{line}, {line}]") == [EXAMPLE] * 2
    assert read(tmp_path, "lines.json", f"{line}\n{line}\n") == [EXAMPLE] * 2
    assert read(tmp_path, "a.jsonl.gz", gzip.compress(line.encode())) == [EXAMPLE]
    parquet.write_table(pa.Table.from_pylist([RECORD]), tmp_path / "b.parquet")
    assert read(tmp_path, "a.parquet", (tmp_path / "b.parquet").read_bytes()) == [EXAMPLE]
    assert read(tmp_path, "a.csv", '\ufeffid,Question,Answer\n1,"Why, then?",so\n') == [("Why, then?", "", "so")]
    assert read(tmp_path, "mmlu.csv", "Why?,a,b,c,d,B\n") == [("Why?", "a\nb\nc\nd", "B")]
    assert read(tmp_path, "a.tsv", 'sentid\tsentence\n1\tSay "so\n') == [('Say "so', "", "")]


def test_records_within_records(tmp_path: Path) -> None:
    asked = {"question": "Who?", "answers": [{"text": "Ada", "answer_start": 3}]}
    squad = {"data": [{"title": "T", "paragraphs": [{"context": "Of Ada.", "qas": [asked, asked]}]}]}
    assert read(tmp_path, "squad.json", json.dumps(squad)) == [("Who?", "Of Ada.", "Ada")] * 2
    drop = {"h1": {"passage": "P", "qa_pairs": [{"question": "Q", "answer": {"number": "7", "spans": []}}]}, "h2": {}}
    assert read(tmp_path, "drop.json", json.dumps(drop)) == [("Q", "P", "7"), ("", "", "")]
    task = {"canary": "never", "examples": [{"input": "1 + 1", "target_scores": {"two": 1, "three": 0}}]}
    assert read(tmp_path, "task.json", json.dumps(task)) == [("1 + 1", "two\nthree", "")]


def test_fields_within_a_question_and_unknown_ones(tmp_path: Path) -> None:
    nested = {
        "id": "x",
        "question": {"question_concept": "c", "stem": "A door?", "choices": [{"label": "A", "text": "b"}]},
    }
    assert read(tmp_path, "a.jsonl", json.dumps(nested)) == [("A door?", "b", "")]
    assert read(tmp_path, "b.jsonl", '{"left": "one", "right": ["two", {"id": "no"}], "n": 3}') == [
        ("one\ntwo", "", "")
    ]
    assert read(
        tmp_path, "c.jsonl", '{"Question": "Q", "answer": 5.0, "choice1": "x", "sol2": "y", "label": true}'
    ) == [("Q", "x\ny", "5.0")]
    assert read(tmp_path, "d.jsonl", '"plain"\n') == [("plain", "", "")]


def test_sets_and_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "test.1.jsonl").write_text('{"text": "x"}\n{"text": "y"}\n')
    (folder / "a.csv").write_text("text\nz\n")
    (folder / "notes.md").write_text("not a set")
    assert list(find_sets(folder)) == ["sets/a", "sets/b/test.1"]
    assert list(read_examples(folder)) == [
        Example("sets/a", "1", "z", "", ""),
        Example("sets/b/test.1", "1", "x", "", ""),
        Example("sets/b/test.1", "2", "y", "", ""),
    ]
    assert list(find_sets(folder / "a.csv")) == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"tex', "a.jsonl: line 2 is not JSON"),
        ("a.json", b"[1, ", "a.json: line 1 is not JSON"),
        ("a.jsonl", b"\xff\xfe", "a.jsonl: not UTF-8"),
        ("a.parquet", b"PAR1", "a.parquet: damaged or not parquet"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}', mtime=0)[:-9], "a.jsonl.gz: damaged or cut short"),
        ("a.jsonl", b"\n", "a.jsonl: no example"),
        ("a.txt", b"x", "a.txt: not a kind of evaluation set; understood are .jsonl"),
        ("a.jsonl", b"[" * 99_999, "line 1 is nested too deeply"),
        ("a.json", b"[" * 99_999, "line 1 is nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, name, content)


def test_a_field_of_any_length_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "a.csv", b"question,answer\n" + b"x" * 200_000 + b",y\n") == [("x" * 200_000, "", "y")]


def test_a_cell_without_a_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.csv: line 2: 3 cells where 2 columns are named"):
        read(tmp_path, "a.csv", "question,answer\nWhy, then?,so\n")


def test_missing_and_ambiguous_sets(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    with pytest.raises(UserError, match=r"no such evaluation set \(did you mean 'gsm8k'\?\)"):
        find_sets(tmp_path / "gsm8")
    with pytest.raises(UserError, match="no evaluation set in it"):
        find_sets(tmp_path / "gsm8k")
    for name in ("a.json", "a.csv"):
        (tmp_path / "gsm8k" / name).write_text("[]")
    with pytest.raises(UserError, match=r"a.json: a.csv beside it has the same name"):
        find_sets(tmp_path / "gsm8k")


def test_the_papers_sets(shared_data: Path) -> None:
    """Every available set is read, and each of its examples has something to judge."""
    number: dict[str, int] = {}
    for example in read_examples(shared_data / "eval"):
        number[example.set] = number.get(example.set, 0) + 1
        assert example.question or example.prompt, example
    assert number["eval/gsm8k/train_first1000"] == 1000
    assert number["eval/mmlu/dev/virology_dev"] == 5


def test_links_are_followed_and_other_files_named(tmp_path: Path) -> None:
    for name in ("elsewhere/quiz.jsonl", "sets/a.jsonl", "sets/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"question": "Who?"}')
    (tmp_path / "sets" / "more").symlink_to("../elsewhere")
    (tmp_path / "sets" / "more" / "again").symlink_to("../sets")
    (tmp_path / "sets" / "README").symlink_to("nowhere")
    assert list(find_sets(tmp_path / "sets")) == ["sets/a", "sets/more/quiz"]
    assert other_files(tmp_path / "sets") == ["sets/README", "sets/notes.txt"]


def test_a_set_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"question": "Who?"}')
    (folder / "b.jsonl").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"b\.jsonl: a link to nothing; fix or remove it"):
        find_sets(folder)
    (folder / "b.jsonl").unlink()
    os.mkfifo(folder / "b.jsonl")
    for path in (folder, folder / "b.jsonl"):
        with pytest.raises(UserError, match=r"b\.jsonl: a pipe, not a regular file"):
            find_sets(path)
