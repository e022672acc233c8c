"""Tiles of arrays, which depend on the shape alone, and their digests, computed where each tile resides.

The tiles of an array are the same however it is divided over devices and processes. Each process hashes the tiles in
its own memory and sends the others 32 bytes per tile.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from palmetto.parallel.processes import on_host

DIGEST_BYTES = 32
_MOST = 3 << 10
"""Every dimension is cut into a divisor of this many pieces, so that device counts that divide it hold whole tiles."""
_LEAST_BYTES = 3 << 10
"""The least size of a tile in bytes, in arrays of at least this size."""

Array = jax.Array | npt.NDArray[Any]
Table = npt.NDArray[np.uint8]
"""The SHA-256 of each tile's bytes (its elements in order, little-endian), shape [*grid, 32]."""
Index = tuple[slice, ...]


def grid(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Returns the number of pieces that each dimension is cut into.

    It starts from the greatest possible numbers; then the dimension with the most pieces, of two the shorter, gets
    fewer until a tile is large enough.
    """
    pieces = [math.gcd(size, _MOST) for size in shape]
    while math.prod(shape) * itemsize < _LEAST_BYTES * math.prod(pieces) and max(pieces, default=1) > 1:
        finest = max(range(len(shape)), key=lambda dimension: (pieces[dimension], -shape[dimension]))
        pieces[finest] //= 2 if pieces[finest] % 2 == 0 else 3
    return tuple(pieces)


def tables(arrays: Mapping[str, Array]) -> dict[str, Table]:
    """Returns the table of each array. All processes of a cluster must call it with the same arrays at once.

    An array whose shards cut through tiles is gathered whole by a collective; if every process does not hold all parts
    of an array, its table is summed by one.
    """
    made, apart, tasks = dict[str, Table](), list[str](), list[tuple[str, Index, Array]]()
    for name, array in arrays.items():
        made[name] = np.zeros((*grid(array.shape, array.dtype.itemsize), DIGEST_BYTES), np.uint8)
        if not isinstance(array, jax.Array) or not _is_of_tiles(array):
            array = on_host(array)
            tasks.append((name, (slice(None),) * array.ndim, array))
        else:
            tasks += ((name, index, data) for index, data in _own_parts(array))
            apart += [] if _is_everywhere(array) else [name]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        jobs = [threads.submit(_fill, made[name], index, data, arrays[name].shape) for name, index, data in tasks]
        for job in jobs:
            job.result()
    return made | {name: _over_processes(made[name]) for name in apart}


def _pieces_held(array: jax.Array) -> dict[int, set[tuple[tuple[int, int], ...]]]:
    """Returns the parts of an array that each process holds, as (start, stop) per dimension."""
    held: dict[int, set[tuple[tuple[int, int], ...]]] = {}
    places: Mapping[Any, Index] = array.sharding.devices_indices_map(array.shape)
    for device, index in places.items():
        edges = tuple(of.indices(size)[:2] for of, size in zip(index, array.shape, strict=True))
        held.setdefault(device.process_index, set()).add(edges)
    return held


def _is_of_tiles(array: jax.Array) -> bool:
    """Returns whether every part of an array consists of whole tiles."""
    sizes = [size // n for size, n in zip(array.shape, grid(array.shape, array.dtype.itemsize), strict=True)]
    parts = set[tuple[tuple[int, int], ...]]().union(*_pieces_held(array).values())
    return all(
        edge % size == 0 for part in parts for pair, size in zip(part, sizes, strict=True) if size for edge in pair
    )


def _is_everywhere(array: jax.Array) -> bool:
    """Returns whether every process holds all parts of an array."""
    held = _pieces_held(array).values()
    return all(parts == set().union(*held) for parts in held)


def _own_parts(array: jax.Array) -> Iterator[tuple[Index, jax.Array]]:
    """Yields the parts that this process hashes; if not every process holds all parts, one process hashes each."""
    is_everywhere, seen = _is_everywhere(array), set[tuple[tuple[int, int], ...]]()
    for shard in array.addressable_shards:
        edges = tuple(of.indices(size)[:2] for of, size in zip(shard.index, array.shape, strict=True))
        if edges not in seen and (is_everywhere or shard.replica_id == 0):
            seen.add(edges)
            yield shard.index, shard.data


def _fill(table: Table, index: Index, part: Array, shape: tuple[int, ...]) -> None:
    """Writes the digests of the tiles of a part to the table; `index` is the part's place in an array of this shape."""
    data = np.asarray(part)
    data = data.astype(data.dtype.newbyteorder("<"), copy=False)
    if data.ndim == 0:
        table[:] = np.frombuffer(hashlib.sha256(data.tobytes()).digest(), np.uint8)
    if data.ndim == 0 or data.size == 0:
        return
    tile = [size // pieces for size, pieces in zip(shape, table.shape[:-1], strict=True)]
    counts = [size // each for size, each in zip(data.shape, tile, strict=True)]
    own = tuple(
        slice(of.indices(size)[0] // each, of.indices(size)[1] // each)
        for of, size, each in zip(index, shape, tile, strict=True)
    )
    pairs = data.reshape([size for pair in zip(counts, tile, strict=True) for size in pair])
    tiles = pairs.transpose(*range(0, pairs.ndim, 2), *range(1, pairs.ndim, 2))
    entries = table[own]
    for band, entry in zip(tiles, entries, strict=True):  # one row of tiles is copied at a time
        rows = np.ascontiguousarray(band).reshape(math.prod(counts[1:]), -1).view(np.uint8)
        found = b"".join(hashlib.sha256(row.data).digest() for row in rows)
        entry[...] = np.frombuffer(found, np.uint8).reshape(entry.shape)


def _over_processes(table: Table) -> Table:
    """Returns the sum of the tables of all processes, each of which has zeros where others have digests."""
    firsts = [next(d for d in jax.devices() if d.process_index == i) for i in range(jax.process_count())]
    mesh = Mesh(np.array(firsts), ("process",))
    one_each = PartitionSpec("process")
    stacked = multihost_utils.host_local_array_to_global_array(table[None], mesh, one_each)
    whole = NamedSharding(mesh, PartitionSpec())
    total = jax.jit(lambda tables: tables.sum(0, dtype=tables.dtype), out_shardings=whole)(stacked)
    return np.asarray(total.addressable_data(0))
