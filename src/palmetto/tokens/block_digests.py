"""Checks any part of a large file as it is read, with a tree of digests of its blocks.

The body is divided into blocks of 64 KiB. The SHA-256 digests of its blocks, concatenated, form a table, whose own
blocks have digests in turn, until a table fits into one block. The SHA-256 of that last table is the root. All tables
follow the body, the lowest first.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

BLOCK_BYTES = 1 << 16
DIGEST_BYTES = 32
_BLOCKS_A_TASK = 1024
"""The number of blocks that one thread checks at a time: 64 MiB."""


class BlockDamaged(Exception):
    """Raised if bytes [start, stop) of the body, or the digests that cover them, are not what was written."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__(f"bytes {start} to {stop}")
        self.start, self.stop = start, stop


class Writer:
    """Writes a body and then its tables to an open file.

    Memory holds one block; the tables are kept in temporary files in `folder`.
    """

    def __init__(self, file: IO[bytes], folder: Path) -> None:
        self._file, self._folder = file, folder
        self._table, self._rest = self._new_table(), bytearray()

    def _new_table(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder)

    def write(self, data: bytes) -> None:
        """Appends to the body."""
        self._file.write(data)
        self._rest += data
        whole = len(self._rest) - len(self._rest) % BLOCK_BYTES
        for start in range(0, whole, BLOCK_BYTES):
            self._table.write(_digest(self._rest[start : start + BLOCK_BYTES]))
        del self._rest[:whole]

    def finish(self) -> str:
        """Appends the tables and returns the root in hex."""
        if self._rest:
            self._table.write(_digest(self._rest))
        while True:
            above = self._new_table()
            for block in _blocks(self._table):
                self._file.write(block)
                above.write(_digest(block))
            if self._table.tell() <= BLOCK_BYTES:
                self._table.seek(0)
                return _digest(self._table.read()).hex()
            self._table = above


class Checker:
    """Checks blocks of a body when they are first requested.

    `data` holds the body and its tables as uint8, usually mapped from a file.
    """

    def __init__(self, data: npt.NDArray[np.uint8], body_bytes: int, root: str) -> None:
        """Raises BlockDamaged if the last table does not match the root. `data` has `total_bytes(body_bytes)` bytes."""
        self._levels = []
        start = 0
        for size in _sizes(body_bytes):
            self._levels.append(data[start : start + size])
            start += size
        assert start == len(data), "a body and its tables"
        self._checked = [np.zeros(-(-len(level) // BLOCK_BYTES), bool) for level in self._levels]
        if _digest(self._levels[-1]).hex() != root:
            raise BlockDamaged(0, body_bytes)
        self._checked[-1][:] = True

    def check(self, start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]) -> None:
        """Checks the non-empty parts [start, stop) of the body; BlockDamaged names the first block that differs."""
        first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
        while len(first):
            for block in np.unique(first[~self._checked[0][first]]):
                self._check_block(0, int(block))
            first, last = first[first < last] + 1, last[first < last]

    def check_all(self) -> None:
        """Checks every block of the body, on all cores."""
        count = len(self._checked[0])

        def check(task: int) -> None:
            for block in range(task, min(task + _BLOCKS_A_TASK, count)):
                self._check_block(0, block)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for _ in threads.map(check, range(0, count, _BLOCKS_A_TASK)):
                pass

    def _check_block(self, level: int, block: int) -> None:
        """Checks a block against its entry in the table above, whose block is checked first."""
        entry = block * DIGEST_BYTES
        if not self._checked[level + 1][entry // BLOCK_BYTES]:
            self._check_block(level + 1, entry // BLOCK_BYTES)
        expected = self._levels[level + 1][entry : entry + DIGEST_BYTES].tobytes()
        if _digest(self._levels[level][block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]) != expected:
            covered = BLOCK_BYTES * (BLOCK_BYTES // DIGEST_BYTES) ** level
            raise BlockDamaged(block * covered, min((block + 1) * covered, len(self._levels[0])))
        self._checked[level][block] = True


def total_bytes(body_bytes: int) -> int:
    """Returns the length of a body and its tables."""
    return sum(_sizes(body_bytes))


def _sizes(body_bytes: int) -> list[int]:
    """Returns the lengths of the body and of each of its tables."""
    sizes = [body_bytes]
    while len(sizes) == 1 or sizes[-1] > BLOCK_BYTES:
        sizes.append(-(-sizes[-1] // BLOCK_BYTES) * DIGEST_BYTES)
    return sizes


def _digest(data: Any) -> bytes:
    return hashlib.sha256(data).digest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield block
