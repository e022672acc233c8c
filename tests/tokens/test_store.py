"""Tests that windows are read back exactly, and that damage is found and named."""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palmetto.errors import UserError
from palmetto.tokens import block_digests, store
from palmetto.tokens.store import HEADER_BYTES, Header, StoreDamaged, TokenStore


def write(path: Path, tokens: Any, sequence_length: int, vocabulary_size: int = 1000, chunk: int = 7) -> Header:
    array = np.asarray(tokens, np.int32)
    return store.write(
        path,
        (array[start : start + chunk] for start in range(0, len(array), chunk)),
        vocabulary_size=vocabulary_size,
        sequence_length=sequence_length,
        documents=3,
        vocabulary_digest="ab" * 32,
        source_fingerprint="cd" * 32,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "train.tokens", range(100), 8)
    return tmp_path / "train.tokens"


def test_the_header_says_what_is_in_it(path: Path) -> None:
    opened = TokenStore.open(path, vocabulary_digest="ab" * 32)
    header = opened.header
    assert (header.dtype, header.tokens, header.sequence_length, header.documents) == ("<u2", 100, 8, 3)
    assert (header.windows, header.remainder) == (opened.windows, header.remainder) == (12, 3)
    assert (header.vocabulary_digest, header.source_fingerprint) == ("ab" * 32, "cd" * 32)
    assert path.stat().st_size == HEADER_BYTES + 200 + 32
    assert header.checksum == opened.checksum


@settings(max_examples=100, deadline=None)
@given(
    tokens=st.lists(st.integers(0, 999), max_size=80),
    sequence_length=st.integers(1, 12),
    chunk=st.integers(1, 30),
    data=st.data(),
)
def test_windows_are_slices_of_the_stream(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[int], sequence_length: int, chunk: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "x"
    header = write(path, tokens, sequence_length, chunk=chunk)
    opened = TokenStore.open(path)
    assert opened.header == header
    assert opened.windows == max(0, (len(tokens) - 1) // sequence_length)
    used = opened.windows * sequence_length + 1 if opened.windows else 0
    assert header.remainder == len(tokens) - used
    indices = data.draw(st.lists(st.integers(0, opened.windows - 1), max_size=9)) if opened.windows else []
    windows = opened.read(np.array(indices, np.int64))
    assert windows.dtype == np.int32
    assert windows.shape == (len(indices), sequence_length + 1)
    for window, i in zip(windows, indices, strict=True):
        assert list(window) == tokens[i * sequence_length : i * sequence_length + sequence_length + 1]


@pytest.mark.parametrize(("size", "dtype"), [(2**16, "<u2"), (2**16 + 1, "<u4"), (256_000, "<u4")])
def test_the_dtype_holds_the_vocabulary(tmp_path: Path, size: int, dtype: str) -> None:
    tokens = [0, size - 1, 1, size - 1]
    assert write(tmp_path / "x", tokens, 3, size).dtype == dtype
    np.testing.assert_array_equal(TokenStore.open(tmp_path / "x").read(np.array([0])), [tokens])


def test_the_bytes_do_not_depend_on_the_chunks(tmp_path: Path) -> None:
    for chunk in (1, 5, 200):
        write(tmp_path / str(chunk), range(100), 8, chunk=chunk)
    assert len({(tmp_path / str(chunk)).read_bytes() for chunk in (1, 5, 200)}) == 1


@pytest.mark.parametrize("index", [-1, 12, 2**40])
def test_windows_that_are_not_there_are_refused(path: Path, index: int) -> None:
    with pytest.raises(IndexError, match="it has 12"):
        TokenStore.open(path).read(np.array([0, index]))


@pytest.mark.parametrize("token", [-1, 1000])
def test_tokens_outside_the_vocabulary_are_not_written(tmp_path: Path, token: int) -> None:
    with pytest.raises(ValueError, match=r"outside \[0, 1000\)"):
        write(tmp_path / "x", [1, token], 1)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_was_not_finished_leaves_the_one_before(path: Path) -> None:
    before = path.read_bytes()

    def chunks() -> Iterator[npt.NDArray[np.int32]]:
        yield np.arange(5, dtype=np.int32)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.write(
            path,
            chunks(),
            vocabulary_size=9,
            sequence_length=2,
            documents=1,
            vocabulary_digest="",
            source_fingerprint="",
        )
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda data: data[:-1], "truncated (4327 of 4328 bytes)"),
        (lambda data: data[:HEADER_BYTES], "truncated (4096 of 4328 bytes)"),
        (lambda data: data[:100], "truncated (100 bytes, less than a header's 4096)"),
        (lambda data: data[:5], "truncated (5 bytes"),
        (lambda data: data + b"\0", "altered (it has 4329 bytes, its header says 4328)"),
        (lambda data: flipped(data, HEADER_BYTES), "altered (tokens 0 to 100 do not match their digest)"),
        (lambda data: flipped(data, HEADER_BYTES + 199), "altered (tokens 0 to 100 do not match their digest)"),
        (lambda data: flipped(data, len(data) - 1), "altered (its digests do not match its header)"),
        (lambda data: flipped(data, 20), "altered (its header"),
        (lambda data: flipped(data, 30), "altered (its header"),
        (lambda data: flipped(data, 80), "altered (its header"),
        (lambda data: flipped(data, HEADER_BYTES - 1), "altered (its header"),
        (lambda data: data[:16] + b"\x03\0\0\0" + data[20:], "of format version 3, this program reads 2"),
        (lambda data: flipped(data, 0), "not a token store"),
        (lambda data: b"", "not a token store"),
        (lambda data: b"some text, not tokens " * 500, "not a token store"),
    ],
)
def test_damage_is_named(path: Path, damage: Any, expected: str) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreDamaged) as caught:
        TokenStore.open(path).check()
    assert str(caught.value).startswith(f"{path}: {expected}")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses blocks of 64 bytes, which hold two digests each, so that a few hundred tokens make a tree of several
    levels.
    """
    monkeypatch.setattr(block_digests, "BLOCK_BYTES", 64)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(2, 700), data=st.data())
def test_an_altered_bit_is_found_where_it_is_used(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "x"
    header = write(path, np.arange(count), 1)
    whole = path.read_bytes()
    position = data.draw(st.integers(HEADER_BYTES, len(whole) - 1))
    path.write_bytes(flipped(whole, position))
    index = data.draw(st.integers(0, header.windows - 1))
    blocks = {2 * index // 64, (2 * index + 3) // 64}  # a window of two tokens lies in them
    try:
        opened = TokenStore.open(path)
        window = opened.read(np.array([index]))
    except StoreDamaged:
        window = None
    if position < HEADER_BYTES + 2 * count:  # else in the tables
        assert (window is None) == ((position - HEADER_BYTES) // 64 in blocks)
    if window is not None:
        assert window.tolist() == [[index, index + 1]]
        with pytest.raises(StoreDamaged, match="altered"):
            opened.check()


@pytest.mark.usefixtures("small_blocks")
def test_opening_and_reading_leave_other_blocks_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x", np.arange(640), 8)
    hashed: list[int] = []
    digest = block_digests._digest

    def note(data: Any) -> bytes:
        hashed.append(len(data))
        return digest(data)

    monkeypatch.setattr(block_digests, "_digest", note)
    opened = TokenStore.open(tmp_path / "x")
    assert hashed == [64]
    opened.read(np.array([0, 1, 1]))
    assert len(hashed) == 6  # a block of tokens and one of each of the tables in between
    opened.read(np.array([1, 0]))
    assert len(hashed) == 6
    assert opened.read(np.arange(79)).tolist() == [list(range(8 * i, 8 * i + 9)) for i in range(79)]
    opened.check()


def test_a_store_of_version_1_is_read_and_checked_whole(path: Path) -> None:
    opened = TokenStore.open(path)
    windows, values = opened.read(np.arange(12)), dataclasses.asdict(opened.header)
    del values["root"]
    text = json.dumps(values).encode()
    tokens = path.read_bytes()[HEADER_BYTES : HEADER_BYTES + 200]
    prefix = struct.pack("<16sII32s", store.MAGIC, 1, len(text), hashlib.sha256(text).digest())
    path.write_bytes((prefix + text).ljust(HEADER_BYTES, b"\0") + tokens)
    np.testing.assert_array_equal(TokenStore.open(path).read(np.arange(12)), windows)
    path.write_bytes(flipped(path.read_bytes(), HEADER_BYTES + 150))
    with pytest.raises(StoreDamaged, match=r"altered .its tokens do not match their checksum"):
        TokenStore.open(path)


def test_another_vocabulary_and_no_file_are_named(path: Path) -> None:
    with pytest.raises(UserError, match=f"of another vocabulary .digest {'ab' * 32}, expected {'ef' * 32}"):
        TokenStore.open(path, vocabulary_digest="ef" * 32)
    with pytest.raises(UserError, match=r"none: cannot read the token store \(No such file or directory\)"):
        TokenStore.open(path.with_name("none"))
