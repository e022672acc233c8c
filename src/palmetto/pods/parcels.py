"""Large arrays that are sent and received in chunks without copies, and their fingerprints."""

import hashlib
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from palmetto.pods.wire import Array, Pieces, bytes_of

CHUNK = 4 << 20
"""The size of a chunk in bytes. Larger chunks need less work in Python; with smaller ones sending, receiving and
checking overlap."""

_ALIGNMENT = 64
"""The alignment in bytes that JAX requires of memory that it uses without a copy."""


class Parcel:
    """Arrays to send, divided into chunks."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays
        self._bytes = [bytes_of(array) for array in arrays]
        self._chunks = cut([len(view) for view in self._bytes])

    def __len__(self) -> int:
        """Returns the number of chunks."""
        return len(self._chunks)

    def pieces(self, chunk: int) -> Pieces:
        """Returns views of the bytes of a chunk."""
        return [self._bytes[index][start:stop] for index, start, stop in self._chunks[chunk]]


class Delivery(Parcel):
    """Arrays to receive: allocated memory, and the chunks that have not arrived yet."""

    def __init__(self, shapes: Iterable[jax.ShapeDtypeStruct]) -> None:
        super().__init__([_aligned(shape) for shape in shapes])
        self._missing = set(range(len(self)))

    def start(self) -> None:
        """Marks all chunks as missing again."""
        self._missing = set(range(len(self)))

    def has(self, chunk: int) -> bool:
        """Returns whether a chunk has arrived."""
        return chunk not in self._missing

    def note(self, chunk: int) -> bool:
        """Records that a chunk has arrived; returns whether it was the last missing one."""
        was_missing = bool(self._missing)
        self._missing.discard(chunk)
        return was_missing and self.complete

    @property
    def complete(self) -> bool:
        """Returns whether all chunks have arrived."""
        return not self._missing


def cut(sizes: Sequence[int]) -> list[list[tuple[int, int, int]]]:
    """Divides arrays of these sizes in bytes into chunks, each a list of (array, start, stop)."""
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
    """Returns a digest of arrays in their order, in hex.

    It is the SHA-256 of the sums, modulo 2**64, of every 1024th word. Arrays that differ in one word always have
    different digests, and other arrays almost always. It runs at the speed of memory; the SHA-256 of all bytes would
    take longer than an update.
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
