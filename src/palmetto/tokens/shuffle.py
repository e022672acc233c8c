"""Documents in an order that depends on a seed and their contents alone, sorted on disk."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

_PARTS = 64
_ENTRY = np.dtype([("key", "S32"), ("digest", "S32"), ("bytes", "<i8"), ("start", "<i8"), ("tokens", "<i8")])


class Shuffle:
    """Takes documents and, once all are there, gives them in the order of the SHA-256 of seed and digest.

    Their entries lie in files of `folder`, in parts by the beginning of that hash, of which one at a time is in memory.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed = f"shuffle {seed} ".encode()
        with contextlib.ExitStack() as files:
            self._parts = [files.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(_PARTS)]
            self._files = files.pop_all()

    def __enter__(self) -> "Shuffle":
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, digest: bytes, size: int, start: int, tokens: int) -> None:
        """Notes a document by its text's SHA-256 and `size` in bytes; its tokens are [start, start + tokens)."""
        key = hashlib.sha256(self._seed + digest).digest()
        self._parts[key[0] * _PARTS // 256].write(np.array((key, digest, size, start, tokens), _ENTRY).tobytes())

    def __iter__(self) -> Iterator[npt.NDArray[np.void]]:
        """Yields the entries in order, a part at a time: arrays of key, digest, bytes, start and tokens."""
        for part in self._parts:
            part.seek(0)
            entries = np.frombuffer(part.read(), _ENTRY)
            yield entries[np.argsort(entries["key"], kind="stable")]
