"""Tests that compressed files are read member by member, past any damage."""

import bz2
import gzip
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import zstandard

from palmetto.corpus.reading import opening
from palmetto.corpus.reading.opening import opened

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
    # zstd and bzip2 check each block; deflate only notices invalid codes.
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


@pytest.mark.parametrize("extension", COMPRESS)
def test_after_damage_it_goes_on_at_the_next_member(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a.txt{extension}"
    compress = zstandard.ZstdCompressor(write_checksum=True).compress if extension == ".zst" else COMPRESS[extension]
    members = [bytearray(compress(TEXT[place : place + 300_000])) for place in (0, 300_000, 600_000)]
    half = len(members[1]) // 2
    members[1][half : half + 40] = random.Random(1).randbytes(40)
    path.write_bytes(b"".join(members))
    with opened(str(path)) as stream:
        first, second = (part.read() for part in stream.stretches())
    assert TEXT[:300_000] == first[:300_000]
    assert second == TEXT[600_000:900_000]
    (damage,) = stream.damages
    assert damage.reason.startswith("damaged: ")
    assert damage.goes_on
    assert 0 < damage.size < len(members[1])


def test_a_member_that_is_cut_short_hides_nothing(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT)
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2] + gzip.compress(b"next") + whole[:1000])
    with opened(str(tmp_path / "a.gz")) as stream:
        parts = [part.read() for part in stream.stretches()]
    assert parts[1].startswith(b"next")
    assert [damage.goes_on for damage in stream.damages] == [True, False]
    assert [damage.reason for damage in stream.damages][1] == "cut short"


def test_a_long_window_of_zstd(tmp_path: Path) -> None:
    window = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=window).compressobj()
    (tmp_path / "a.zst").write_bytes(packed.compress(TEXT) + packed.flush())
    assert content(tmp_path / "a.zst") == (TEXT, None)


@pytest.mark.parametrize("extension", COMPRESS)
def test_a_bomb_is_left_before_memory_is_full(tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 1 << 20)
    monkeypatch.setattr(opening, "_CHUNK", 1 << 16)
    (tmp_path / f"a.txt{extension}").write_bytes(COMPRESS[extension](bytes(100_000_000)))
    tracemalloc.start()
    try:
        with opened(str(tmp_path / f"a.txt{extension}")) as stream, pytest.raises(opening.TooLong, match="bomb"):
            stream.whole()
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()


def test_long_text_that_is_no_bomb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "RECORD_BYTES", 1000)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT))
    with opened(str(tmp_path / "a.txt.gz")) as stream:
        assert stream.whole() == TEXT
