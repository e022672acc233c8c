"""Large arrays as they travel: in chunks, from where they lie and to where they will; and their fingerprints."""

import hashlib
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from palmetto.pods.wire import Array, Pieces, bytes_of

CHUNK = 4 << 20
"""Bytes: large enough that Python's part is small, small enough that sending, receiving and checking overlap."""

_ALIGNMENT = 64
"""Bytes: what JAX asks of memory that it is to use where it lies."""


class Parcel:
    """Arrays to send."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays
        self._bytes = [bytes_of(array) for array in arrays]
        self._chunks = cut([len(view) for view in self._bytes])

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self._chunks)

    def pieces(self, chunk: int) -> Pieces:
        """The bytes of a chunk, where they lie."""
        return [self._bytes[index][start:stop] for index, start, stop in self._chunks[chunk]]


class Delivery(Parcel):
    """Arrays that are to come, in memory that waits for them."""

    def __init__(self, shapes: Iterable[jax.ShapeDtypeStruct]) -> None:
        super().__init__([_aligned(shape) for shape in shapes])
        self._missing = set(range(len(self)))

    def start(self) -> None:
        """Waits for all of it, once more."""
        self._missing = set(range(len(self)))

    def has(self, chunk: int) -> bool:
        """Whether a chunk is there."""
        return chunk not in self._missing

    def note(self, chunk: int) -> bool:
        """Notes that a chunk has come; whether it was the last of all that were missing."""
        was_missing = bool(self._missing)
        self._missing.discard(chunk)
        return was_missing and self.complete

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return not self._missing


def cut(sizes: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Arrays of these sizes in bytes, cut into chunks: each a list of (array, start, stop)."""
    chunks: list[list[tuple[int, int, int]]] = []
    room = 0
    for index, size in enumerate(sizes):
        start = 0
        while start < size:
            if not room:
                chunks.append([])
                room = CHUNK
            stop = min(size, start + room)
            chunks[-1].append((index, start, stop))
            room -= stop - start
            start = stop
    return chunks


_LANES = 1024


def fingerprint(arrays: Iterable[Array]) -> str:
    """A digest of arrays in their order, at the speed of memory (SHA-256 itself would take longer than an update).

    It is the SHA-256 of sums modulo 2**64 of every 1024th word, so that arrays that differ in one word never have the
    same, and others hardly ever.
    """
    whole = hashlib.sha256()
    for array in arrays:
        view = np.frombuffer(bytes_of(array), np.uint8)
        body = len(view) // (8 * _LANES) * (8 * _LANES)
        whole.update(np.add.reduce(view[:body].view("<u8").reshape(-1, _LANES), axis=0).tobytes())
        whole.update(view[body:].data)
    return whole.hexdigest()


def _aligned(shape: jax.ShapeDtypeStruct) -> Array:
    dtype = np.dtype(shape.dtype)
    count = int(np.prod(shape.shape, dtype=np.int64)) * dtype.itemsize
    memory = np.empty(count + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + count].view(dtype).reshape(shape.shape)
