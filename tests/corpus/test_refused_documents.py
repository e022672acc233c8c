"""Tests that a source which cannot be read is refused with a message that names it."""

import gzip
import io
import os
import socket
from pathlib import Path

import pyarrow
import pytest
import zstandard
from pyarrow import parquet

from palmetto.corpus import documents
from palmetto.corpus.reading import formats, opening
from palmetto.errors import UserError
from tests.references.sources import PLAIN, parquet_bytes, refusal, texts

_buffer = io.BytesIO()
parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 2, names=["text", "text"]), _buffer)
TWICE = _buffer.getvalue()


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


def test_pipes_and_devices_are_named(tmp_path: Path) -> None:
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


def test_unreadable_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("x")

    def denied(path: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    # chmod would not stop root, as whom the tests may run.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert refusal(tmp_path).startswith(f"{tmp_path}/a.txt: no permission")
        with pytest.raises(UserError, match=r"a\.txt: no permission"):
            documents.fingerprint(str(tmp_path))
    monkeypatch.setattr(os, "listdir", denied)
    assert refusal(tmp_path).startswith(f"{tmp_path}: no permission")
