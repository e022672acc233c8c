"""Tests that files of sets that are damaged are refused by name."""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from palmetto.errors import UserError
from palmetto.evaluation.loading import load
from palmetto.evaluation.registry import TASKS
from palmetto.evaluation.tasks.reading import archived, json_lines, json_list, lines, table
from palmetto.files import write_bytes

BOOLQ = b'{"question": "q?", "passage": "p", "label": true}\n'
QUESTION = {"id": "q", "question": "Who?", "answers": [], "is_impossible": False}


@pytest.mark.parametrize(
    ("read", "data", "message"),
    [
        (json_lines, b'{"q": "\xe9"}', "not UTF-8"),
        (json_lines, b"{}\n" + b"[" * 100_000, "line 2 is not JSON"),
        (json_list, b"5", "expected a list of objects"),
        (table, b"q,g\n\xe9,0\n", "not UTF-8"),
        (table, b"q,g\nwhy, then?,0\n", "line 2: 3 cells where 2 columns are named"),
    ],
)
def test_a_damaged_file_is_named(
    read: Callable[[Path], Iterable[Any]], data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "set").write_bytes(data)
    with pytest.raises(UserError, match=f"{tmp_path / 'set'}: {message}"):
        list(read(tmp_path / "set"))


@pytest.mark.parametrize(
    ("name", "path", "data", "message"),
    [
        ("arc_easy", "arc/ARC-Easy-Test.jsonl", b'{"id": "1", "answerKey": "A"}', "record 0: no 'question'; expected"),
        ("xquad_de", "xquad/xquad.de.json", b"{}", "record 0: no 'data'; expected the JSON of SQuAD"),
        ("mmlu_virology", "mmlu/test/virology_test.csv", b"q\xe9,a,b,c,d,A\n", "not UTF-8"),
        ("paloma_ptb", "paloma/ptb/val.jsonl.gz", gzip.compress(b'{"text": "a"}\n{', mtime=0), "line 2 is not JSON"),
        (
            "paloma_ptb",
            "paloma/ptb/val.jsonl.gz",
            gzip.compress(b'{"text": "a"}', mtime=0)[:-4],
            "not a whole file of gzip",
        ),
        ("humaneval", "humaneval/HumanEval.jsonl.gz", b"plain", "not a whole file of gzip"),
        ("triviaqa", "triviaqa_fixture/triviaqa-sample.tgz", b"plain", "not a whole tar archive"),
        ("nq_open", "nq_open/NQ-open.dev.jsonl", b'{"question": null, "answer": ["x"]}', "record 0: .*expected lines"),
        ("nq_open", "nq_open/NQ-open.dev.jsonl", b'{"question": "q", "answer": []}', "record 0: answers .*one or more"),
        (
            "nq_open",
            "nq_open/NQ-open.dev.jsonl",
            b'{"question": "q", "answer": "x"}',
            "record 0: answers 'x'; expected",
        ),
        ("boolq", "superglue/BoolQ/val.jsonl", BOOLQ + b"[1]", "record 1: .*expected lines of JSON"),
        ("bbh_navigate", "bigbench_hard/navigate.json", b"[]", "record 0: .*expected JSON with examples"),
        (
            "squadv2",
            "squad/dev-v2.0.json",
            json.dumps({"data": [{"paragraphs": [{"context": "c", "qas": [QUESTION]}]}]}).encode(),
            "record 0: answers .*one or more",
        ),
        ("wsc273", "winograd/wsc273.txt", b"He [MASK] ran.\n[MASK]\nAl, Bo\n", "line 1: 3 lines of a schema"),
        ("wsc273", "winograd/wsc273.txt", b"He ran.\n[MASK]\nAl, Bo\nAl\n", "record 0: .*expected"),
    ],
)
def test_malformed_records_are_named(name: str, path: str, data: bytes, message: str, tmp_path: Path) -> None:
    write_bytes(tmp_path / path, data)
    with pytest.raises(UserError, match=f"{path}: {message}") as raised:
        load(TASKS[name], tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "path", "data"),
    [
        ("nq_open", "nq_open/NQ-open.dev.jsonl", b'{"question": "q", "answer": ["x"]}'),
        ("mgsm_direct_de", "mgsm/mgsm_de.tsv", b"q\t2"),
        ("mmlu_virology", "mmlu/test/virology_test.csv", b"q,a,b,c,d,A"),
        ("wsc273", "winograd/wsc273.txt", "Ann [MASK] ran.\n[MASK]\nÄ, Ö\nÄ\n".encode()),
    ],
)
def test_a_byte_order_mark_changes_nothing(name: str, path: str, data: bytes, tmp_path: Path) -> None:
    write_bytes(tmp_path / path, data)
    plain = load(TASKS[name], tmp_path).examples
    write_bytes(tmp_path / path, b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert load(TASKS[name], tmp_path).examples == plain


def test_only_newlines_end_lines(tmp_path: Path) -> None:
    write_bytes(tmp_path / "set", "a\u2028b\x85\r\n\n\x0cc\n".encode())
    assert lines(tmp_path / "set") == ["a\u2028b\x85", "", "\x0cc"]
    write_bytes(tmp_path / "lambada" / "lambada_test_plain_text.txt", "one two\u2028three\n".encode())
    [example] = load(TASKS["lambada_standard"], tmp_path).examples
    assert (example.context, example.answers) == ("one", ("two\u2028three",))


def test_an_archive_without_the_file_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tgz", "w:gz"):
        pass
    with pytest.raises(UserError, match=r"set.tgz: no file in it ends with dev.json"):
        archived(tmp_path / "set.tgz", "dev.json")


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(b'\xef\xbb\xbfq,g\r\n"a\r\nb",0\r\n')
    assert list(table(tmp_path / "set")) == [{"q": "a\r\nb", "g": "0"}]
