"""Sorts documents on disk into an order that depends only on a seed and their contents."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

_PARTS = 64
_ENTRY = np.dtype([("key", "S32"), ("digest", "S32"), ("bytes", "<i8"), ("start", "<i8"), ("tokens", "<i8")])


class Shuffle:
    """Collects documents, and yields them in the order of the SHA-256 of seed and digest.

    The records are kept in files in `folder`, partitioned by the beginning of that hash; memory holds one part at a
    time.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, f"shuffle {seed} ".encode()
        self._files = contextlib.ExitStack()
        self._parts: list[IO[bytes]] = []

    def __enter__(self) -> "Shuffle":
        """Opens the files."""
        with contextlib.ExitStack() as files:
            self._parts = [files.enter_context(tempfile.TemporaryFile(dir=self._folder)) for _ in range(_PARTS)]
            self._files = files.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, digest: bytes, size: int, start: int, tokens: int) -> None:
        """Records a document: its text's SHA-256, its `size` in bytes and its tokens [start, start + tokens)."""
        key = hashlib.sha256(self._seed + digest).digest()
        self._parts[key[0] * _PARTS // 256].write(np.array((key, digest, size, start, tokens), _ENTRY).tobytes())

    def __iter__(self) -> Iterator[npt.NDArray[np.void]]:
        """Yields the records in order, one part at a time: arrays of key, digest, bytes, start and tokens."""
        for part in self._parts:
            part.seek(0)
            entries = np.frombuffer(part.read(), _ENTRY)
            yield entries[np.argsort(entries["key"], kind="stable")]
