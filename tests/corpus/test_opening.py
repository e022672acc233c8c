"""Compressed files: members one after another, and damage that ends them."""

import bz2
import gzip
import random
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import zstandard

from palmetto.corpus.opening import opened

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.compress,
    ".bz2": lambda data: bz2.compress(data, 1),
}
TEXT = "".join(f"line {random.Random(i).random()}\n" for i in range(40_000)).encode()


def content(path: Path) -> tuple[bytes, str | None]:
    with opened(str(path)) as stream:
        data = stream.file.read()
        return data, stream.damage


def test_plain(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    assert content(tmp_path / "a.txt") == (b"text", None)
    with pytest.raises(FileNotFoundError), opened(str(tmp_path / "b.txt")):
        pass


@pytest.mark.parametrize("extension", COMPRESS)
def test_whole_files_of_several_members(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.txt{extension.upper()}"
    path.write_bytes(b"".join(COMPRESS[extension](part) for part in (TEXT, b"", b"more")))
    assert content(path) == (TEXT + b"more", None)
    path.write_bytes(b"")
    assert content(path) == (b"", None)


@pytest.mark.parametrize("extension", COMPRESS)
def test_cut_short(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.txt{extension}"
    whole = COMPRESS[extension](TEXT)
    path.write_bytes(whole[: len(whole) // 2])
    data, damage = content(path)
    assert damage == "cut short"
    assert TEXT.startswith(data)
    assert len(data) > len(TEXT) / 4
    path.write_bytes(whole[:-1])
    assert content(path)[1] == "cut short"


@pytest.mark.parametrize("extension", COMPRESS)
def test_damaged_within(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.txt{extension}"
    whole = bytearray(COMPRESS[extension](TEXT))
    for place in range(len(whole) * 3 // 4, len(whole) * 3 // 4 + 64):
        whole[place] ^= 0x5A
    path.write_bytes(bytes(whole))
    data, damage = content(path)
    assert damage is not None
    assert damage.startswith("damaged: ")
    # zstd and bzip2 check a block at a time, deflate notices only what is no code at all.
    assert TEXT.startswith(data[: len(TEXT) // 4])
    assert len(data) > len(TEXT) / 4


def test_not_what_its_name_says(tmp_path: Path) -> None:
    for extension in COMPRESS:
        path = tmp_path / f"a.txt{extension}"
        path.write_bytes(b"not compressed at all")
        data, damage = content(path)
        assert data == b""
        assert str(damage).startswith("damaged: ")


def test_zeros_after_the_end_are_padding(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"text") + bytes(40_000))
    assert content(path) == (b"text", None)


def test_addresses() -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/a.txt.gz", gzip.compress(b"far away"))
    with opened("memory://a.txt.gz") as stream:
        assert (stream.file.read(), stream.damage) == (b"far away", None)
    system.store.clear()
