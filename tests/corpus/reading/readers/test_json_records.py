"""Tests that JSON is read, as lines or in one piece."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palmetto.corpus.reading import opening
from palmetto.corpus.reading.finding import Problem
from palmetto.corpus.reading.readers import json_values
from palmetto.corpus.reading.records import Item, Record
from tests.references.reading_of import reading_of


def kept(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.name, item.text) for item in items if isinstance(item, Record)]


def problems(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.name, item.reason) for item in items if isinstance(item, Problem)]


def test_lines_in_several_encodings_and_lines_that_are_none(tmp_path: Path) -> None:
    korean = "하늘에 별은 깨알같이 총총 박혔다. 그 덕으로 솔숲 속은 간신히 희미하였다."
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"text": "one"}\n\n{"text": "two\\u0000"}\r\n'
        + f'{{"text": "{korean}"}}\n'.encode("cp949")
        + '{"text": "été à la plage, déjà vu"}\n'.encode("latin-1")
        + b'{"text": "cut \xea\xb0 off"}\nnot json\n{"text": "lone \\ud83d"}\n{"text": "last"}'
    )
    items = reading_of(tmp_path / "a.jsonl")
    assert kept(items) == [
        ("a.jsonl:1", "one"),
        ("a.jsonl:3", "two\0"),
        ("a.jsonl:4", korean),
        ("a.jsonl:5", "été à la plage, déjà vu"),
        ("a.jsonl:8", "lone \ud83d"),
        ("a.jsonl:9", "last"),
    ]
    (first, second) = problems(items)
    assert first == ("a.jsonl:6", "broken UTF-8 at byte 14")
    assert second[0] == "a.jsonl:7"
    assert second[1].startswith("not JSON (")


def test_wide_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "하나"}\n{"text": "둘"}\n'.encode("utf-16"))
    assert kept(reading_of(tmp_path / "a.jsonl")) == [("a.jsonl:1", "하나"), ("a.jsonl:2", "둘")]


def test_a_damaged_file_gives_the_lines_before(tmp_path: Path) -> None:
    data = gzip.compress("".join(json.dumps({"text": f"{i * 7919}"}) + "\n" for i in range(9999)).encode(), mtime=0)
    (tmp_path / "a.jsonl.gz").write_bytes(data[: len(data) // 2])
    *records, problem = reading_of(tmp_path / "a.jsonl.gz")
    assert kept(records) == [(f"a.jsonl.gz:{i + 1}", f"{i * 7919}") for i in range(len(records))]
    assert len(records) > 2000
    assert problem == Problem("s", "a.jsonl.gz", "cut short; what comes before is kept")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_members_after_a_damaged_one_are_read(tmp_path: Path, name: str) -> None:
    lines = [json.dumps({"text": f"{i * 7919}"}) + "\n" for i in range(3000)]
    members = [bytearray(gzip.compress("".join(lines[i : i + 1000]).encode(), mtime=0)) for i in (0, 1000, 2000)]
    members[1][20:80] = bytes(60)
    (tmp_path / name).write_bytes(b"".join(members))
    *records, problem = reading_of(tmp_path / name)
    assert [text for _, text in kept(records)] == [f"{i * 7919}" for i in (*range(1000), *range(2000, 3000))]
    assert isinstance(problem, Problem)
    assert problem.reason.endswith("what comes before and after is kept")
    assert len(members[1]) // 2 < problem.size <= len(members[1])


def test_a_line_that_is_too_long_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 1000)
    text = "".join(json.dumps({"text": word}) + "\n" for word in ("one", "x" * 5000, "two", "y" * 5000, "three"))
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.jsonl").write_text(text, encoding="utf-16")
    for name, size in (("a.jsonl", 5013), ("b.jsonl", 10026), ("a.json", 5000)):
        items = reading_of(tmp_path / name)
        assert [text for _, text in kept(items)] == ["one", "two", "three"]
        assert [item.size for item in items if isinstance(item, Problem)] == [size] * 2


def test_nesting_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "\n" + '{"text": "x"}')
    (tmp_path / "b.json").write_text('[{"text": "x"}, ' + "[" * 100_000)
    items = reading_of(tmp_path / "a.jsonl")
    assert (kept(items), len(problems(items))) == ([("a.jsonl:2", "x")], 1)
    items = reading_of(tmp_path / "b.json")
    assert (kept(items), len(problems(items))) == ([("b.json:1", "x")], 1)


def test_code_under_a_licence_that_comes_later(tmp_path: Path) -> None:
    gpl = "GNU GENERAL PUBLIC LICENSE\nVersion 3"
    rows = [
        {"repo": "a/b", "path": "x.c", "text": "1"},
        {"repo": "c/d", "path": "x.c", "text": "2"},
        {"repo": "a/b", "path": "LICENSE", "text": gpl},
        {"repo": "c/d", "path": "sub/COPYING", "text": gpl},
        {"repo": "c/d", "path": "sub/y.c", "text": "3"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    records = [item for item in reading_of(tmp_path / "a.jsonl", kind="code") if isinstance(item, Record)]
    assert [(record.text, record.licence) for record in records] == [("1", "GPL-3.0"), ("2", None), ("3", "GPL-3.0")]


def test_the_shared_gpl_repository(shared_data: Path) -> None:
    items = reading_of(shared_data / "corpus" / "code_gpl", kind="code")
    assert {item.licence for item in items if isinstance(item, Record)} == {"GPL-2.0-or-later"}


VALUES = st.lists(
    st.fixed_dictionaries({"text": st.text(max_size=40), "n": st.integers() | st.lists(st.text())})
    | st.integers(-(10**30), 10**30),
    max_size=8,
)


@given(
    VALUES,
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.integers(5, 40),
)
def test_an_array_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[dict[str, str] | int],
    indent: int | str | None,
    escape: bool,
    name: str,
    chunk: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / "a.json"
    path.write_bytes(json.dumps(values, indent=indent, ensure_ascii=escape).encode(name, "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK", chunk)
        items = reading_of(path)
    assert [text for _, text in kept(items)] == [value["text"] for value in values if isinstance(value, dict)]
    assert len(problems(items)) == sum(isinstance(value, int) for value in values)


@pytest.mark.parametrize(
    ("content", "texts", "reason"),
    [
        (b'{"text": "x"}', ["x"], None),
        (b'{"text": "x"}\n{"text": "y"}', ["x", "y"], None),
        (b'[{"text": "x"}]\n[{"text": "y"}]', ["x", "y"], None),
        (b"[]", [], None),
        (b'[{"text": "x"}', ["x"], "a.json:2: not JSON (the array does not end)"),
        (b'[{"text": "x"}, {"text": "y', ["x"], "a.json:2: not JSON (Unterminated string"),
        (
            b'[{"text": "x"}, {"text": y}, {"text": "z", "more": "and more"}]',
            ["x", "z"],
            "a.json:2: not JSON (Expecting value",
        ),
        (b'{"text": "x"} {"body": 1}', ["x"], "a.json:2: no field `text`, its fields: 'body'"),
        (b'[{"text": "x"}, {"text": "\xea\xb0"}, {"text": "z"}]', ["x", "z"], "a.json:2: not JSON (broken UTF-8 at"),
        (b'[{"id": 1, "text": "x"}, {"id": 2 "a": [{"text": "q"}]}, {"id": 3, "text": "z"}]', ["x", "z"], "a.json:2:"),
        (b'[{"text" "x", "a": {"b": 1}}, {"id": 1, "text": "y"}, {"id": 2, "text": "z"}]', ["y", "z"], "a.json:1: not"),
        (b'[{"text" "x"}, {"id": 1, "a": {"b": 2}, "text": "z"}]', ["z"], "a.json:1: not JSON (Expecting ':'"),
        (b"text", [], "a.json:1: not JSON (Expecting value at character 0 of it)"),
    ],
)
def test_other_pieces_of_json(tmp_path: Path, content: bytes, texts: list[str], reason: str | None) -> None:
    (tmp_path / "a.json").write_bytes(content)
    items = reading_of(tmp_path / "a.json")
    assert [text for _, text in kept(items)] == texts
    told = [f"{name}: {why}" for name, why in problems(items)]
    assert (told == []) if reason is None else (len(told) == 1 and told[0].startswith(reason))


def test_broken_and_undecodable_records_count_in_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' + json.dumps(["y" * 500]) + "\n")
    whole = json.dumps([{"text": "x"}, {"text": "y" * 500}, {"text": "z" * 500}]).encode("utf-32")
    (tmp_path / "a.json").write_bytes(whole[:400] + b"\xff" * 4 + whole[404:])
    for name, lost in (("a.jsonl", 500), ("a.json", len(whole) - 400)):
        sizes = [item.size for item in reading_of(tmp_path / name) if isinstance(item, Problem)]
        assert lost <= sum(sizes) <= len(whole)


_PEAK = r"""
import re, sys
from pathlib import Path
from tests.references.reading_of import reading_of
def peak():
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
before = peak()
(record,) = reading_of(Path(sys.argv[1]))
assert len(record.text) == int(sys.argv[2]), len(record.text)
print(peak() - before)
"""


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_long_line_takes_a_few_times_its_size(tmp_path: Path, name: str) -> None:
    size = 48 << 20
    text = "a line of words, and of more.\\n" * (size // 31)
    (tmp_path / name).write_text(('{"text": "%s"}' if name == "a.jsonl" else '[{"text": "%s"}]') % text)
    command = [sys.executable, "-c", _PEAK, str(tmp_path / name), str(size // 31 * 30)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert size < peak < 4 * size
