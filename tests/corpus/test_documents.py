"""Documents: kinds of files, sections, fingerprints, and a message for everything that cannot be read."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from palmetto.corpus import documents
from palmetto.corpus.documents import Document
from palmetto.corpus.reading import formats, opening
from palmetto.errors import UserError

SECTION = 1 << 16
BOOKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "corpus" / "books"


def texts(source: Path) -> list[str]:
    return [document.text for document in documents.read(str(source), SECTION)]


def parquet_bytes(column: str, values: pyarrow.Array) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.table({"id": pyarrow.array(range(len(values))), column: values}), buffer)
    return buffer.getvalue()


_buffer = io.BytesIO()
parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 2, names=["text", "text"]), _buffer)
TWICE = _buffer.getvalue()


def refusal(source: Path) -> str:
    with pytest.raises(UserError) as caught:
        texts(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


PLAIN = {
    ".txt": b"one\r\ntwo",
    ".md": b"one\r\ntwo",
    ".jsonl": b'{"text": "one\\r\\ntwo", "id": 1}\n\n',
    ".parquet": parquet_bytes("text", pyarrow.array(["one\r\ntwo"])),
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("extension", PLAIN)
def test_every_kind_of_file_alone_and_in_a_folder(tmp_path: Path, extension: str, compression: str) -> None:
    file = tmp_path / "sub" / f"A.{extension[1:].upper()}{compression}"
    file.parent.mkdir()
    file.write_bytes(COMPRESS[compression](PLAIN[extension]))
    assert texts(file) == texts(tmp_path) == ["one\r\ntwo"]


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a.txt", "c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "first"}\n{"text": "second"}' if "jsonl" in name else name)
    assert list(documents.read(str(tmp_path), SECTION)) == [
        Document("a.txt", "a.txt"),
        Document("a/z.txt", "a/z.txt"),
        Document("b.txt", "b.txt"),
        Document("first", "c.jsonl:1"),
        Document("second", "c.jsonl:2"),
    ]


def test_many_frames_and_lines_of_zst_are_read_to_the_end(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"line {i} " + "x" * (i % 700)}) + "\n" for i in range(3000)]
    frames = [zstandard.compress("".join(lines[i : i + 1000]).encode()) for i in range(0, 3000, 1000)]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    assert texts(tmp_path) == [json.loads(line)["text"] for line in lines]


def test_bytes_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    raw = bytes([9, 10, *range(0x20, 0x7F), *range(0x80, 0x100)]) * 3
    (tmp_path / "a.txt").write_bytes(raw)
    (tmp_path / "b.parquet").write_bytes(parquet_bytes("text", pyarrow.array([raw])))
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "caf\xe9"}')
    *whole, line = documents.read(str(tmp_path), SECTION)
    assert [document.text.encode("utf-8", "surrogateescape") for document in whole] == [raw, raw]
    assert [document.size for document in whole] == [len(raw)] * 2
    assert line.text.encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_read_as_text(tmp_path: Path, name: str) -> None:
    text = "Ein Satz mit Umlauten: äöü.\r\nUnd noch einer.\n" * 9
    (tmp_path / "a.txt").write_bytes(text.encode(name))
    assert texts(tmp_path) == [text]


def test_the_mark_of_utf8_stays_in_text_and_is_none_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufefftext".encode())
    (tmp_path / "b.jsonl").write_bytes('\ufeff{"text": "one"}\n{"text": "two"}\n'.encode())
    (tmp_path / "c.jsonl").write_bytes('{"text": "하나"}\n{"text": "둘"}\n'.encode("utf-16"))
    assert texts(tmp_path) == ["\ufefftext", "one", "two", "하나", "둘"]


def test_an_encoding_changes_no_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n", encoding="utf-16-le")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two"))
    total = hashlib.sha256()
    for name, content in (("a.txt", "one\n".encode("utf-16-le")), ("b.txt.gz", b"two")):
        total.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content).digest())
    assert documents.fingerprint(str(tmp_path)) == total.hexdigest()


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.string_view(), pyarrow.binary()])
def test_parquet_texts_of_other_types_and_nulls(tmp_path: Path, kind: pyarrow.DataType) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet_bytes("text", pyarrow.array(["é", None, ""], kind)))
    assert list(documents.read(str(tmp_path), SECTION)) == [Document("é", "a.parquet:0")]
    survey = documents.survey(str(tmp_path))
    assert (survey.documents, survey.empty, survey.bytes) == (1, 2, 2)


def test_the_survey_names_what_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("é")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "b.pdf").write_text("x")
    (tmp_path / ".hidden.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "gone.txt").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    survey = documents.survey(str(tmp_path))
    assert survey.files == ("a.txt", "empty.txt")
    assert dict(survey.ignored) == {
        ".git": "hidden",
        ".hidden.txt": "hidden",
        "b.pdf": "not a kind of file that can be read",
        "gone.txt": "a link to nothing",
        "loop": "a link to a folder read already",
        "pipe.txt": "not a regular file",
    }
    assert (survey.documents, survey.empty, survey.bytes) == (1, 1, 2)


def test_links_are_followed_once(tmp_path: Path) -> None:
    source, other = tmp_path / "source", tmp_path / "other"
    source.mkdir()
    other.mkdir()
    (other / "a.txt").write_text("linked")
    (other / "back").symlink_to(source)
    (source / "one").symlink_to(other)
    (source / "two").symlink_to(other)
    assert list(documents.read(str(source), SECTION)) == [Document("linked", "one/a.txt")]


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("\n\n\r é")), st.integers(1, 20))
def test_sections_join_to_the_text_and_end_at_line_breaks(text: str, section_bytes: int) -> None:
    sections = documents.cut(text, section_bytes)
    assert "".join(sections) == text
    for section in sections[:-1]:
        data = section.encode("utf-8", "surrogatepass")
        assert data.endswith(b"\n")
        assert len(data) > section_bytes
        assert b"\n" not in data[section_bytes:-1]


def test_a_long_document_is_several(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1234567\n" * 5)
    assert list(documents.read(str(tmp_path), 10)) == [
        Document("1234567\n1234567\n", "a.txt#1"),
        Document("1234567\n1234567\n", "a.txt#2"),
        Document("1234567\n", "a.txt#3"),
    ]


@given(st.text(st.characters(exclude_categories=()) | st.sampled_from("  é"), max_size=60), st.integers(1, 20))
def test_a_line_is_cut_at_spaces_or_between_characters(text: str, section_bytes: int) -> None:
    sections = documents.cut_anywhere(text, section_bytes)
    assert "".join(sections) == text
    for section in sections:
        assert 0 < len(section.encode("utf-8", "surrogatepass")) <= max(4, section_bytes)
    for section in sections[:-1]:
        assert section.endswith(" ") or " " not in section


def test_a_source_of_one_line_is_several_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three four")
    assert texts(tmp_path) == ["one two three four"]
    assert list(documents.read(str(tmp_path), 9)) == [
        Document("one two ", "a.txt#1"),
        Document("three ", "a.txt#2"),
        Document("four", "a.txt#3"),
    ]
    # Beside other text a long line stays whole, as it always has.
    (tmp_path / "b.txt").write_text("more")
    assert list(documents.read(str(tmp_path), 9)) == [
        Document("one two three four", "a.txt"),
        Document("more", "b.txt"),
    ]


RUN = ("recipe.yaml", ".lock")
OURS = {
    "a run": (*RUN, "ledger.jsonl", "samples.txt"),
    "a run that is begun": RUN,
    "a run that was copied": ("recipe.yaml", "ledger.jsonl", "samples.txt"),
    "a run that failed": ("sweep-log.txt",),
    "a sweep": ("text.json", "sweep.json", "sweep.md"),
    "a corpus": ("manifest.json", ".lock", "stages/texts.jsonl", "documents/a.jsonl"),
    "a corpus that is begun": (".lock", "stages/texts.jsonl"),
}


@pytest.mark.parametrize("kind", OURS)
def test_what_we_made_within_a_source_is_left_out(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "recipe.yaml").write_text("a recipe of soup")
    before = documents.fingerprint(str(tmp_path))
    for name in OURS[kind]:
        path = tmp_path / "runs" / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"step": 1}\n')
    assert texts(tmp_path) == ["text"]
    assert documents.fingerprint(str(tmp_path)) == before
    survey = documents.survey(str(tmp_path))
    what = " ".join(kind.split()[:2])
    assert dict(survey.ignored)["runs/mine"] == f"the directory of {what}"
    if kind != "a corpus":
        assert refusal(tmp_path / "runs" / "mine").startswith(f"{tmp_path}/runs/mine: the directory of {what}")


def test_the_fingerprint_follows_names_and_contents_only(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "sub" / "a.txt").write_text("one")
    (here / "b.txt").write_text("two")
    first = documents.fingerprint(str(here))
    there = tmp_path / "deep" / "there"
    shutil.copytree(here, there)
    os.utime(there / "b.txt", (1, 1))
    (there / "c.pdf").write_text("not read")
    assert documents.fingerprint(str(there)) == first
    (there / "b.txt").write_text("twO")
    altered = documents.fingerprint(str(there))
    (there / "b.txt").write_text("two")
    (there / "b.txt").rename(there / "c.txt")
    assert len({first, altered, documents.fingerprint(str(there))}) == 3


def test_the_python_source() -> None:
    survey = documents.survey("python")
    assert survey.documents > 500
    assert survey.bytes > 5_000_000
    assert "argparse.py" in survey.files
    assert ("test", "not the library's own text") in survey.ignored
    assert documents.fingerprint("python") == documents.fingerprint("python")
    assert sum(document.size for document in documents.read("python", SECTION)) == survey.bytes


def test_the_books_in_many_languages() -> None:
    if not BOOKS.is_dir():
        pytest.skip("the shared books are not on this machine")
    survey = documents.survey(str(BOOKS))
    assert (len(survey.files), survey.ignored, survey.empty) == (37, (), 0)
    latin1 = BOOKS / "genesis_parallel" / "french.txt"
    joined = "".join(texts(latin1))
    assert joined.encode("utf-8", "surrogateescape") == latin1.read_bytes()
    assert sum(document.size for document in documents.read(str(latin1), SECTION)) == latin1.stat().st_size


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", b'{"text": "x"}\nnot json\n', ["line 2 is not JSON"]),
        ("a.jsonl", b'{"text": "x"}\n\n{"body": 1, "id": 2}\n', ["line 3 has no `text` field", "'body', 'id'"]),
        ("a.jsonl", b'{"text": 12}\n', ["line 1: `text` is int '12'"]),
        ("a.jsonl", b'["x"]\n', ["line 1 is a JSON list"]),
        ("a.parquet", parquet_bytes("body", pyarrow.array(["x"])), ["no `text` column", "'id', 'body'"]),
        ("a.parquet", parquet_bytes("text", pyarrow.array([1])), ["`text` column is of type int64"]),
        ("a.parquet", PLAIN[".parquet"][:-20], ["damaged or not parquet"]),
        ("a.parquet", b"", ["damaged or not parquet"]),
        ("a.parquet.zst", zstandard.compress(b"x"), ["damaged or not parquet"]),
        ("a.txt.gz", gzip.compress(os.urandom(9999))[:5000], ["damaged or cut short"]),
        ("a.txt.gz", b"not gzip at all", ["damaged or cut short"]),
        ("a.txt.zst", zstandard.compress(os.urandom(9999))[:5000], ["damaged or cut short"]),
        ("a.txt.zst", zstandard.compress(b"text " * 9999)[:-1], ["damaged or cut short", "mid-frame"]),
        ("a.txt.zst", b"not zst at all", ["damaged or cut short"]),
        ("a.txt", b"", ["only empty documents"]),
        ("a.txt", b"\x7fELF" + bytes(200), ["cannot be read as text (binary)"]),
        ("a.txt", bytes(range(256)), ["cannot be read as text (binary)"]),
        ("a.txt", b"\xff\xfea\x00b", ["broken UTF-16 at byte 2"]),
        ("a.parquet", parquet_bytes("text", pyarrow.array([bytes(200)])), ["cannot be read as text (binary)"]),
        ("a.jsonl", b'{"text": "x", "tree": ' + b"[" * 99_999 + b"]" * 99_999 + b"}", ["line 1 is nested too deeply"]),
        ("a.parquet", TWICE, ["2 columns are named `text`"]),
        ("a.jsonl", b"\n", ["only empty documents"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, expected: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    for source in (tmp_path / name, tmp_path):
        message = refusal(source)
        assert all(part in message for part in [str(source), *expected]), message


def test_a_source_without_files_says_what_would_do(tmp_path: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nowhere")
    assert "found nothing" in refusal(tmp_path)
    for i in range(7):
        (tmp_path / f"{i}.pdf").write_text("x")
    message = refusal(tmp_path)
    assert formats.UNDERSTOOD in message
    assert "found 0.pdf, 1.pdf, 2.pdf, 3.pdf, 4.pdf and 2 more" in message
    assert formats.UNDERSTOOD in refusal(tmp_path / "0.pdf")


def test_what_is_neither_file_nor_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe.txt: a pipe, not a regular file; text is read several times" in refusal(tmp_path / "pipe.txt")
    assert "/dev/null: a device" in refusal(Path("/dev/null"))
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path has 107 characters at most
        try:
            listening.bind("s.txt")
        finally:
            os.chdir(here)
    assert "s.txt: a socket" in refusal(tmp_path / "s.txt")
    with pytest.raises(UserError, match="an empty path is no source"):
        documents.fingerprint("")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 100_000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"ha " * 5_000_000))
    for attempt in (texts, lambda path: documents.fingerprint(str(path))):
        with pytest.raises(UserError, match=r"a\.txt\.gz: .*decompression bomb"):
            attempt(tmp_path)
    (tmp_path / "a.txt.gz").unlink()
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n{"text": "' + "x" * 200_000)
    assert "line 2 cannot be read (a record of 200,010 bytes" in refusal(tmp_path)


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")

    def denied(path: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # Not by chmod: the tests may run as root, whom it does not stop.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert refusal(tmp_path).startswith(f"{tmp_path}/a.txt: no permission")
        with pytest.raises(UserError, match=r"a\.txt: no permission"):
            documents.fingerprint(str(tmp_path))
    monkeypatch.setattr(os, "listdir", denied)
    assert refusal(tmp_path).startswith(f"{tmp_path}: no permission")
