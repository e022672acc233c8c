"""Tests that web archives are read."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from palmetto.corpus.reading import opening
from palmetto.corpus.reading.finding import Problem
from palmetto.corpus.reading.records import Dropped, Record
from tests.references.reading_of import reading_of

CHECKED = zstandard.ZstdCompressor(write_checksum=True)


def record(
    kind: str,
    payload: bytes,
    url: str = "http://a.example/",
    http: str | None = "text/html",
    status: int = 200,
    more: str = "",
) -> bytes:
    """Returns a record, with HTTP headers if it is a response."""
    inner = {"conversion": "text/plain"}.get(kind, "application/warc-fields")
    if http is not None:
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: {http}\r\n{more}Content-Length: {len(payload)}\r\n\r\n"
        payload = head.encode() + payload
        inner = "application/http; msgtype=response"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Record-ID: <urn:uuid:1>\r\n"
        f"WARC-Date: 2021-01-01T00:00:00Z\r\nContent-Type: {inner}\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def page(words: str, charset: str = "utf-8") -> bytes:
    return f"<html><body><nav><a href=/>Menu</a></nav><article><p>{words}</p></article></body></html>".encode(charset)


ARCHIVE = [
    record("warcinfo", b"software: x\r\n", http=None),
    record("request", b"GET / HTTP/1.1\r\n\r\n", http=None),
    record("response", page("First page, of words."), "http://a.example/1", "text/html; charset=utf-8"),
    record("response", page("서울의 봄이 왔다.", "euc-kr"), "http://a.example/2", "text/html; charset=EUC-KR"),
    record("response", b"\x89PNG\r\n", "http://a.example/3.png", "image/png"),
    record("response", page("Gone."), "http://a.example/4", status=404),
    record("response", b"plain text", "http://a.example/5.txt", "text/plain"),
    record("response", page("서울의 봄이 왔다.") + b"\xff", "http://a.example/6", "text/html; charset=utf-8"),
]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_pages_of_an_archive(tmp_path: Path, name: str) -> None:
    members = ARCHIVE if name == "a.warc" else [gzip.compress(member) for member in ARCHIVE]
    (tmp_path / name).write_bytes(b"".join(members))
    assert reading_of(tmp_path / name) == [
        Record(f"{name}:3", "First page, of words.", "http://a.example/1"),
        Record(f"{name}:4", "서울의 봄이 왔다.", "http://a.example/2"),
        Dropped(f"{name}:5", "a response that is no page", 6),
        Dropped(f"{name}:6", "a response other than 200", len(page("Gone."))),
        Record(f"{name}:7", "plain text", "http://a.example/5.txt"),
        Problem("s", f"{name}:8 http://a.example/6", "broken UTF-8 at byte 105"),
    ]


def test_extracted_texts(tmp_path: Path) -> None:
    texts = [
        record("conversion", text.encode(), f"http://{i}.example", http=None) for i, text in enumerate(["하나", "둘\n"])
    ]
    (tmp_path / "a.warc.wet.gz").write_bytes(b"".join(gzip.compress(text) for text in [ARCHIVE[0], *texts]))
    assert reading_of(tmp_path / "a.warc.wet.gz") == [
        Record("a.warc.wet.gz:2", "하나", "http://0.example"),
        Record("a.warc.wet.gz:3", "둘\n", "http://1.example"),
    ]


def test_a_compressed_response(tmp_path: Path) -> None:
    body = gzip.compress(page("Packed words."))
    packed = record("response", body, "http://z.example", more="Content-Encoding: gzip\r\n")
    (tmp_path / "a.warc").write_bytes(packed)
    assert reading_of(tmp_path / "a.warc") == [Record("a.warc:1", "Packed words.", "http://z.example")]


@pytest.mark.parametrize("name", ["members.warc.gz", "one.warc.gz", "plain.warc"])
def test_a_damaged_archive_gives_the_pages_before(tmp_path: Path, name: str) -> None:
    records = [
        record("response", page(f"Page {i}. " + " ".join(str(i * j * 7919) for j in range(800))), f"http://{i}.example")
        for i in range(60)
    ]
    whole = b"".join(map(gzip.compress, records)) if name.startswith("m") else b"".join(records)
    whole = gzip.compress(whole) if name.startswith("one") else whole
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    *pages, problem = reading_of(tmp_path / name)
    assert problem == Problem("s", name, "cut short; what comes before is kept")
    assert 20 <= len(pages) <= 40
    for number, each in enumerate(pages):
        assert isinstance(each, Record)
        assert each.url == f"http://{number}.example"
        assert each.text.endswith(str(number * 799 * 7919))


def lengthened(data: bytes, by: int) -> bytes:
    """Returns a record whose stated length is too large by `by` bytes."""
    head, end, block = data.partition(b"\r\n\r\n")
    before, name, length = head.rpartition(b"Content-Length: ")
    return before + name + str(int(length) + by).encode() + end + block


GOOD = [record("response", page(f"Page {i}. " + "words " * i), f"http://{i}.example") for i in range(12)]
BAD: dict[str, Callable[[bytes], bytes]] = {
    "content encoding": lambda data: record("response", b"no gzip", more="Content-Encoding: gzip\r\n"),
    "transfer encoding": lambda data: record("response", b"no chunks", more="Transfer-Encoding: chunked\r\n"),
    "too short": lambda data: lengthened(data, -20),
    "too long": lambda data: lengthened(data, 20),
    "longer than the next": lambda data: lengthened(data, len(GOOD[5]) + 300),
    "as long as the next too": lambda data: lengthened(data, len(GOOD[5])),
    "longer than the file": lambda data: lengthened(data, 10**9),
    "longer than anything": lambda data: lengthened(data, 10**15),
    "negative": lambda data: lengthened(data, -(10**6)),
    "no length": lambda data: data.replace(b"Content-Length", b"Content-Strength"),
    "no head": lambda data: b"X" + data[1:],
    "a head cut short": lambda data: data[:60],
    "cut short": lambda data: data[:-90],
    "garbage": lambda data: b"\xff\x00 garbage without a line break",
    "lines of garbage": lambda data: b"garbage here\r\n" * 5,
}


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_record_costs_only_itself(tmp_path: Path, bad: str, name: str) -> None:
    records = [*GOOD[:4], BAD[bad](GOOD[4]), *GOOD[5:8], BAD[bad](GOOD[8]), *GOOD[9:]]
    (tmp_path / name).write_bytes(b"".join(map(gzip.compress, records) if name.endswith("gz") else records))
    items = reading_of(tmp_path / name)
    kept = [(item.url, item.text.split()[1]) for item in items if isinstance(item, Record)]
    assert kept == [(f"http://{i}.example", f"{i}.") for i in range(12) if i not in (4, 8)]
    problems = [item for item in items if isinstance(item, Problem)]
    assert len(problems) == len(items) - len(kept) == 2
    assert all(0 < problem.size <= 2 * len(GOOD[8]) for problem in problems)


@pytest.mark.parametrize("extension", ["gz", "zst", "bz2"])
@pytest.mark.parametrize("bad", ["altered", "cut short", "garbage"])
def test_a_damaged_member_costs_only_itself(tmp_path: Path, bad: str, extension: str) -> None:
    compress: Callable[[bytes], bytes] = {"gz": gzip.compress, "zst": CHECKED.compress, "bz2": bz2.compress}[extension]
    members = [compress(data) for data in GOOD]
    for place in (4, 5, 9):
        whole = members[place]
        half = len(whole) // 2
        members[place] = {
            "altered": whole[:half] + bytes([whole[half] ^ 0x10]) + whole[half + 1 :],
            "cut short": whole[:half],
            "garbage": b"garbage" * 9,
        }[bad]
    (tmp_path / f"a.warc.{extension}").write_bytes(b"".join(members))
    items = reading_of(tmp_path / f"a.warc.{extension}")
    kept = [(item.url, item.text.split()[1]) for item in items if isinstance(item, Record)]
    assert kept == [(f"http://{i}.example", f"{i}.") for i in range(12) if i not in (4, 5, 9)]
    assert 2 <= sum(isinstance(item, Problem) for item in items) <= 3


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"])
def test_the_last_record_needs_no_line_breaks(tmp_path: Path, end: bytes) -> None:
    (tmp_path / "a.warc").write_bytes(GOOD[1] + GOOD[2].removesuffix(b"\r\n\r\n") + end)
    assert [getattr(item, "url", item) for item in reading_of(tmp_path / "a.warc")] == [
        "http://1.example",
        "http://2.example",
    ]


def test_a_page_about_archives_is_a_page(tmp_path: Path) -> None:
    example = page("One. ").replace(b"<p>", b"<p>Two.<pre>\r\n\r\nWARC/1.0\r\nWARC-Type: response\r\n\r\n</pre>")
    (tmp_path / "a.warc").write_bytes(record("response", example) + ARCHIVE[2])
    first, second = reading_of(tmp_path / "a.warc")
    assert isinstance(first, Record)
    assert "WARC-Type: response" in first.text
    assert isinstance(second, Record)


def test_a_page_that_is_too_long_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 5000)
    bomb = record("response", gzip.compress(bytes(100_000)), more="Content-Encoding: gzip\r\n")
    video = record("response", bytes(9000), http="video/mp4")
    long = record("response", page("long " * 2000), "http://long.example")
    (tmp_path / "a.warc").write_bytes(ARCHIVE[2] + bomb + video + long + ARCHIVE[2])
    first, packed, dropped, too_long, last = reading_of(tmp_path / "a.warc")
    assert isinstance(first, Record)
    assert isinstance(dropped, Dropped)
    for problem in (packed, too_long):
        assert isinstance(problem, Problem)
        assert problem.reason.startswith("a record of ")
    assert isinstance(last, Record)


def test_files_that_are_no_archive_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(b"not an archive at all\n" * 10)
    (problem,) = reading_of(tmp_path / "a.warc")
    assert isinstance(problem, Problem)
