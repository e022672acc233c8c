"""The token store: one file of tokens, cut into windows by arithmetic, read by window number.

A header of 4096 bytes: magic (16 bytes), version (uint32), length of the JSON (uint32), SHA-256 of the JSON (32 bytes),
the JSON of `Header`, zeros. Then the tokens, uint16 or uint32. All numbers are little-endian.
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

MAGIC = b"palmetto tokens\n"
VERSION = 1
HEADER_BYTES = 4096
_PREFIX = struct.Struct("<16sII32s")


@dataclasses.dataclass(frozen=True)
class Header:
    """What the file says of itself. Window i is tokens i·T to i·T + T, T = `sequence_length`, `remainder` in none.

    `checksum` is the SHA-256 of the tokens, in hex.
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


class TokenStore:
    """An open store. `tokens` is the whole stream, uint16 or uint32 of shape [header.tokens], mapped from the file.

    `windows` is their number, `checksum` stands for all the tokens.
    """

    def __init__(self, path: Path, header: Header, tokens: npt.NDArray[Any]) -> None:
        self.path = path
        self.header = header
        self.tokens = tokens
        self.windows = header.windows
        self.checksum = header.checksum

    @classmethod
    def open(cls, path: Path, *, vocabulary_digest: str | None = None) -> "TokenStore":
        """Maps a store and checks every byte; UserError, by name, if it is damaged or of another vocabulary."""
        header = _read_header(path)
        size, expected = path.stat().st_size, HEADER_BYTES + header.tokens * np.dtype(header.dtype).itemsize
        if size < expected:
            raise UserError(f"{path}: truncated ({size} of {expected} bytes); build it again")
        if size > expected:
            raise UserError(f"{path}: altered (it has {size} bytes, its header says {expected}); build it again")
        if vocabulary_digest not in (None, header.vocabulary_digest):
            raise UserError(
                f"{path}: of another vocabulary (digest {header.vocabulary_digest}, expected {vocabulary_digest}); "
                "build it again, or use the vocabulary it was built with"
            )
        with path.open("rb") as file:
            file.seek(HEADER_BYTES)
            if hashlib.file_digest(file, "sha256").hexdigest() != header.checksum:
                raise UserError(f"{path}: altered (its tokens do not match their checksum); build it again")
        return cls(path, header, np.memmap(path, header.dtype, "r", HEADER_BYTES, (header.tokens,)))

    def read(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """The windows of the given numbers, int32 of shape [len(indices), T + 1]; IndexError outside [0, windows)."""
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.windows:
            raise IndexError(
                f"{self.path}: windows {indices.min()} to {indices.max()} asked for, it has {self.windows}"
            )
        length = self.header.sequence_length
        if not len(indices):
            return np.empty((0, length + 1), np.int32)
        windows = np.lib.stride_tricks.sliding_window_view(self.tokens, length + 1)[::length]
        return windows[indices].astype(np.int32)


def write(
    path: Path,
    chunks: Iterable[npt.NDArray[Any]],
    *,
    vocabulary_size: int,
    sequence_length: int,
    documents: int,
    vocabulary_digest: str,
    source_fingerprint: str,
) -> Header:
    """Writes the concatenated `chunks` (integer arrays of any length) as a store, atomically; returns its header."""
    dtype = np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<u4")
    tokens, body = 0, hashlib.sha256()
    with files.atomic(path) as file:
        file.write(bytes(HEADER_BYTES))
        for chunk in chunks:
            if len(chunk) and not 0 <= chunk.min() <= chunk.max() < vocabulary_size:
                raise ValueError(f"{path}: a token outside [0, {vocabulary_size})")
            data = chunk.astype(dtype).tobytes()
            file.write(data)
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
        )
        text = json.dumps(dataclasses.asdict(header)).encode()
        file.seek(0)
        file.write(_PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text)
    return header


def _read_header(path: Path) -> Header:
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot read the token store ({error.strerror})") from None
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise UserError(f"{path}: not a token store")
    if len(data) < HEADER_BYTES:
        raise UserError(f"{path}: truncated ({len(data)} bytes, less than a header's {HEADER_BYTES}); build it again")
    _, version, length, digest = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise UserError(f"{path}: of format version {version}, this program reads {VERSION}; build it again")
    text, padding = data[_PREFIX.size : _PREFIX.size + length], data[_PREFIX.size + length :]
    if hashlib.sha256(text).digest() != digest or any(padding):
        raise UserError(f"{path}: altered (its header does not match its checksum); build it again")
    return Header(**json.loads(text))
