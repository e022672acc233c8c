"""Tests that files which are one document are read."""

import gzip
from pathlib import Path

import pytest

from palmetto.corpus.reading import opening
from palmetto.corpus.reading.finding import Problem
from palmetto.corpus.reading.readers.text import without_frame
from palmetto.corpus.reading.records import Record
from tests.references.reading_of import reading_of


def test_plain_text_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_bytes("\ufeffone\r\ntwo".encode())
    assert reading_of(tmp_path / "a.md", licence="CC0-1.0", language="en") == [
        Record("a.md", "one\r\ntwo", None, "CC0-1.0", "en")
    ]


def test_files_that_are_no_text_are_problems(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "binary.txt").write_bytes(b"\x7fELF" + bytes(range(256)) * 4)
    (tmp_path / "s" / "broken.txt").write_bytes("정보".encode()[:-1] + b" and more")
    (tmp_path / "s" / "good.txt").write_text("good")
    assert reading_of(tmp_path / "s") == [
        Problem("s", "s/binary.txt", "binary"),
        Problem("s", "s/broken.txt", "broken UTF-8 at byte 3"),
        Record("s/good.txt", "good"),
    ]


def test_whole_lines_before_damage_are_kept(tmp_path: Path) -> None:
    data = gzip.compress("".join(f"줄 {i * i * 7919}\n" for i in range(20_000)).encode(), mtime=0)
    (tmp_path / "a.txt.gz").write_bytes(data[: len(data) // 2])
    record, problem = reading_of(tmp_path / "a.txt.gz")
    assert isinstance(record, Record)
    assert record.text.endswith("\n")
    assert record.text.count("\n") > 5000
    assert problem == Problem("s", "a.txt.gz", "cut short; what comes before is kept")


def test_the_frames_of_three_books(shared_data: Path) -> None:
    books = shared_data / "corpus" / "books" / "en"
    for name, first, last in (
        ("pg1342_pride_and_prejudice", "Produced by", "uniting them."),
        ("pg1661_sherlock_holmes", "Produced by", "considerable success."),
        ("pg972_devils_dictionary", "", ""),
    ):
        (record,) = reading_of(books / f"{name}.txt")
        assert isinstance(record, Record)
        assert record.boilerplate == (books / f"{name}.txt").stat().st_size - len(record.text.encode())
        assert 18_000 < record.boilerplate < 21_000
        assert record.text.startswith(first)
        assert record.text.rstrip().endswith(last)
        assert "Gutenberg License" not in record.text
    (emma,) = reading_of(books / "austen-emma.txt")
    assert isinstance(emma, Record)
    assert emma.boilerplate == 0


def test_a_book_without_an_end_keeps_its_text() -> None:
    start = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n"
    assert without_frame(f"The Project Gutenberg EBook\n{start}\n\nText.\n") == "Text.\n"
    assert without_frame("He said *** and left.") == "He said *** and left."
    long = "word " * 20_000
    quoted = f"{long}\n{start}{long}"
    assert without_frame(quoted) == quoted


@pytest.mark.parametrize("markup", [None, "none"])
def test_a_page(tmp_path: Path, markup: str | None) -> None:
    html = "<html><head><meta charset=euc-kr></head><body><nav>메뉴</nav><p>서울의 봄이 왔다.</p></body></html>"
    (tmp_path / "a.html").write_bytes(html.encode("euc-kr"))
    (record,) = reading_of(tmp_path / "a.html", markup=markup)
    assert isinstance(record, Record)
    assert record.text.strip() == ("서울의 봄이 왔다." if markup is None else html)


def test_code_under_the_licences_of_its_repository(tmp_path: Path) -> None:
    mit = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated"
    files = {
        "r/.git/HEAD": "x",
        "r/LICENSE": mit,
        "r/a.py": "print()",
        "r/page.html": "<p>kept as it is</p>",
        "r/gpl/COPYING": "GNU GENERAL PUBLIC LICENSE Version 2",
        "r/gpl/LICENSE-MIT": mit,
        "r/gpl/b.c": "int x;",
        "r/odd/LICENSE": "Do as you please.",
        "r/odd/c.go": "package c",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert reading_of(tmp_path / "r", kind="code", licence="ISC") == [
        Record("r/a.py", "print()", None, "MIT", "Python"),
        Record("r/gpl/b.c", "int x;", None, "GPL-2.0 AND MIT", "C"),
        Record("r/odd/c.go", "package c", None, "LicenseRef-unrecognized AND MIT", "Go"),
        Record("r/page.html", "<p>kept as it is</p>", None, "MIT", "HTML"),
    ]


def test_a_decompression_bomb_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 100_000)
    (tmp_path / "s").mkdir()
    for name in ("a.txt", "b.html", "c.json", "d.parquet"):
        (tmp_path / "s" / f"{name}.gz").write_bytes(gzip.compress(b"[" + b" " * 5_000_000))
    (tmp_path / "s" / "good.txt").write_text("good")
    *problems, good = reading_of(tmp_path / "s")
    assert good == Record("s/good.txt", "good")
    assert len(problems) == 4
    for problem in problems:
        assert isinstance(problem, Problem)
        assert problem.size > 0 or "the array does not end" in problem.reason
    assert all("bomb" in problems[place].reason for place in (0, 1, 3))  # type: ignore[union-attr]


def test_text_after_a_damaged_member_is_kept(tmp_path: Path) -> None:
    members = [bytearray(gzip.compress(f"part {number}\n".encode() * 3000)) for number in range(3)]
    members[1][12:24] = bytes(12)
    (tmp_path / "a.txt.gz").write_bytes(b"".join(members))
    record, problem = reading_of(tmp_path / "a.txt.gz")
    assert isinstance(record, Record)
    assert record.text == "part 0\n" * 3000 + "part 2\n" * 3000
    assert isinstance(problem, Problem)
    assert problem.reason.endswith("what comes before and after is kept")
