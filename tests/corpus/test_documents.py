"""Tests kinds of files, encodings, surveys and fingerprints of sources."""

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow
import pytest
import zstandard

from palmetto.corpus import documents
from palmetto.corpus.documents import Document
from tests.references.sources import COMPRESS, PLAIN, SECTION, parquet_bytes, refusal, texts

BOOKS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "corpus" / "books"


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


def test_zst_files_of_many_frames_are_read_completely(tmp_path: Path) -> None:
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


def test_byte_order_marks_stay_in_text_but_not_in_json(tmp_path: Path) -> None:
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


RUN = ("recipe.yaml", ".lock")
OURS = {
    "a run": (*RUN, "ledger.jsonl", "samples.txt"),
    "a run that is begun": RUN,
    "a run that was copied": ("recipe.yaml", "ledger.jsonl", "samples.txt"),
    "a run that failed": ("training-log.txt",),
    "a ladder": ("text.json", "ladder.json", ".compiled"),
    "a sweep": ("text.json", "sweep.json", "sweep.md"),
    "a corpus": ("manifest.json", ".lock", "stages/texts.jsonl", "documents/a.jsonl"),
    "a corpus that is begun": (".lock", "stages/texts.jsonl"),
}


@pytest.mark.parametrize("kind", OURS)
def test_palmettos_own_directories_in_a_source_are_skipped(tmp_path: Path, kind: str) -> None:
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
