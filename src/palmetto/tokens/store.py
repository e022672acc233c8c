"""The token store: one file of tokens, divided into windows by arithmetic and read by window number.

A header of 4096 bytes holds: magic (16 bytes), version (uint32), length of the JSON (uint32), SHA-256 of the JSON (32
bytes), the JSON of `Header`, zeros. The tokens follow as uint16 or uint32, then the digests of their blocks
(block_digests.py). All numbers are little-endian. Version 1 had no digests of blocks; such a store is checked
completely when it is opened.
"""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from palmetto import files
from palmetto.errors import UserError
from palmetto.tokens import block_digests
from palmetto.tokens.block_digests import BlockDamaged, Checker
from palmetto.tokens.marks import MARKS, tokens_of

MAGIC = b"palmetto tokens\n"
VERSION = 2
HEADER_BYTES = 4096
_PREFIX = struct.Struct("<16sII32s")


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of a store. Window i is tokens i·T to i·T + T with T = `sequence_length`; `remainder` tokens are in
    none.

    `checksum` is the SHA-256 of the tokens, `root` that of the topmost digests of their blocks, both in hex; a store of
    version 1 has no root.
    """

    dtype: str
    tokens: int
    sequence_length: int
    windows: int
    remainder: int
    documents: int
    vocabulary_digest: str
    source_fingerprint: str
    checksum: str
    root: str = ""
    marked: bool = False
    """True if each number is a token with its marks (marks.py)."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields by name, `marked` only where it is true, so that other stores keep the digests that they had."""
        values = dataclasses.asdict(self)
        return values if self.marked else {key: value for key, value in values.items() if key != "marked"}


class StoreDamaged(UserError):
    """Raised if a store is not what was written; the stage that made it can make it again."""


class TokenStore:
    """An open store, mapped from its file; each block is checked when it is first read.

    `windows` is the number of windows, `checksum` the SHA-256 of all tokens.
    """

    def __init__(self, path: Path, header: Header) -> None:
        """Takes the file's header, which must fit its size; raises StoreDamaged if its digests do not match."""
        self.path = path
        self.header = header
        self.windows = header.windows
        self.checksum = header.checksum
        body = header.tokens * np.dtype(header.dtype).itemsize
        data = np.memmap(path, np.uint8, "r", HEADER_BYTES) if _file_bytes(header) > HEADER_BYTES else np.empty(0, "u1")
        self._tokens: npt.NDArray[Any] = data[:body].view(header.dtype)
        self._checker = Checker(data, body, header.root) if header.root else None

    @classmethod
    def open(cls, path: Path, *, vocabulary_digest: str | None = None) -> "TokenStore":
        """Maps a store and checks its header, reading little of the file.

        Raises UserError if it was made with another vocabulary, and StoreDamaged, which names it, if it is damaged.
        """
        header = _read_header(path)
        size, expected = path.stat().st_size, _file_bytes(header)
        if size < expected:
            raise StoreDamaged(f"{path}: truncated ({size} of {expected} bytes); build it again")
        if size > expected:
            raise StoreDamaged(f"{path}: altered (it has {size} bytes, its header says {expected}); build it again")
        if vocabulary_digest not in (None, header.vocabulary_digest):
            raise UserError(
                f"{path}: of another vocabulary (digest {header.vocabulary_digest}, expected {vocabulary_digest}); "
                "build it again, or use the vocabulary it was built with"
            )
        try:
            store = cls(path, header)
        except BlockDamaged:
            raise StoreDamaged(f"{path}: altered (its digests do not match its header); build it again") from None
        if not header.root:
            store.check()
        return store

    def check(self) -> None:
        """Reads and checks every token; StoreDamaged names the first that are not what was written."""
        if self._checker is None:
            if hashlib.sha256(self._tokens.data).hexdigest() != self.checksum:
                raise StoreDamaged(f"{self.path}: altered (its tokens do not match their checksum); build it again")
            return
        try:
            self._checker.check_all()
        except BlockDamaged as damaged:
            raise self._damaged(damaged) from None

    def read(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Returns the tokens of the windows of the given numbers, int32 of shape [len(indices), T + 1].

        Raises as `read_stored` does.
        """
        return tokens_of(self.read_stored(indices)) if self.header.marked else self.read_stored(indices)

    def read_stored(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Returns the windows of the given numbers as they are stored, with their marks if the store is marked.

        Raises IndexError outside [0, windows), and StoreDamaged if a block with their tokens is not what was written.
        """
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.windows:
            raise IndexError(
                f"{self.path}: windows {indices.min()} to {indices.max()} asked for, it has {self.windows}"
            )
        length = self.header.sequence_length
        if not len(indices):
            return np.empty((0, length + 1), np.int32)
        self._check(indices * length, indices * length + length + 1)
        windows = np.lib.stride_tricks.sliding_window_view(self._tokens, length + 1)[::length]
        return windows[indices].astype(np.int32)

    def stretch(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Returns the tokens [start, stop) of the stream, uint16 or uint32; raises StoreDamaged as `read` does."""
        stored = self.stretch_stored(start, stop)
        return tokens_of(stored) if self.header.marked else stored

    def stretch_stored(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Returns what is stored of the tokens [start, stop), like `read_stored`."""
        stop = min(stop, len(self._tokens))
        if start < stop:
            self._check(np.array([start]), np.array([stop]))
        return self._tokens[start:stop]

    def _check(self, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> None:
        """Checks the tokens from each `start` to each `stop`."""
        if self._checker is None:
            return
        size = self._tokens.itemsize
        try:
            self._checker.check(start * size, stop * size)
        except BlockDamaged as damaged:
            raise self._damaged(damaged) from None

    def _damaged(self, block: BlockDamaged) -> StoreDamaged:
        size = self._tokens.itemsize
        where = f"tokens {block.start // size} to {block.stop // size}"
        return StoreDamaged(f"{self.path}: altered ({where} do not match their digest); build it again")


def write(
    path: Path,
    chunks: Iterable[npt.NDArray[Any]],
    *,
    vocabulary_size: int,
    sequence_length: int,
    documents: int,
    vocabulary_digest: str,
    source_fingerprint: str,
    marked: bool = False,
) -> Header:
    """Writes the concatenated `chunks` (integer arrays of any length) as a store, atomically, and returns its
    header.

    marked: the numbers are tokens with their marks.
    """
    numbers = vocabulary_size << MARKS if marked else vocabulary_size
    dtype = np.dtype("<u2" if numbers <= 1 << 16 else "<u4")
    tokens, body = 0, hashlib.sha256()
    with files.atomic(path) as file:
        file.write(bytes(HEADER_BYTES))
        blocks = block_digests.Writer(file, path.parent)
        for chunk in chunks:
            if len(chunk) and not 0 <= chunk.min() <= chunk.max() < numbers:
                raise ValueError(f"{path}: a token outside [0, {vocabulary_size})")
            data = chunk.astype(dtype).tobytes()
            blocks.write(data)
            body.update(data)
            tokens += len(chunk)
        windows = max(0, tokens - 1) // sequence_length
        header = Header(
            dtype=dtype.str,
            tokens=tokens,
            sequence_length=sequence_length,
            windows=windows,
            remainder=tokens - (windows * sequence_length + 1 if windows else 0),
            documents=documents,
            vocabulary_digest=vocabulary_digest,
            source_fingerprint=source_fingerprint,
            checksum=body.hexdigest(),
            root=blocks.finish(),
            marked=marked,
        )
        text = json.dumps(header.fields).encode()
        file.seek(0)
        file.write(_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text)
    return header


def _file_bytes(header: Header) -> int:
    body = header.tokens * np.dtype(header.dtype).itemsize
    return HEADER_BYTES + (block_digests.total_bytes(body) if header.root else body)


def _read_header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot read the token store ({error.strerror})") from None
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise StoreDamaged(f"{path}: not a token store")
    if len(data) < HEADER_BYTES:
        raise StoreDamaged(
            f"{path}: truncated ({len(data)} bytes, less than a header's {HEADER_BYTES}); build it again"
        )
    _, version, length, digest = _PREFIX.unpack_from(data)
    text, padding = data[_PREFIX.size : _PREFIX.size + length], data[_PREFIX.size + length :]
    if version not in (1, VERSION):
        raise StoreDamaged(f"{path}: of format version {version}, this program reads {VERSION}; build it again")
    if hashlib.sha256(text).digest() != digest or any(padding):
        raise StoreDamaged(f"{path}: altered (its header does not match its checksum); build it again")
    return Header(**json.loads(text))
